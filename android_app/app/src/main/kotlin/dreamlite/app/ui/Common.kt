package dreamlite.app.ui

import androidx.annotation.DrawableRes
import androidx.annotation.StringRes
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.ExperimentalLayoutApi
import androidx.compose.foundation.layout.FlowRow
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.size
import androidx.compose.foundation.layout.width
import androidx.compose.material3.Card
import androidx.compose.material3.CardDefaults
import androidx.compose.material3.Icon
import androidx.compose.material3.IconButton
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.res.painterResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.LiveRegionMode
import androidx.compose.ui.semantics.heading
import androidx.compose.ui.semantics.liveRegion
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.unit.dp
import dreamlite.app.R
import dreamlite.app.model.BundleCard
import dreamlite.app.model.HistoryEntry
import dreamlite.app.model.Notice
import dreamlite.app.model.Shown

/** An icon that is a button, with the words that TalkBack reads. */
@Composable
fun IconAction(@DrawableRes icon: Int, words: String, onClick: () -> Unit, modifier: Modifier = Modifier, enabled: Boolean = true) {
    IconButton(onClick, modifier, enabled) { Icon(painterResource(icon), words) }
}

@Composable
fun LabelledAction(
    @DrawableRes icon: Int,
    @StringRes words: Int,
    onClick: () -> Unit,
    modifier: Modifier = Modifier,
    enabled: Boolean = true,
) {
    OutlinedButton(onClick, modifier, enabled) {
        Icon(painterResource(icon), null, Modifier.size(18.dp))
        Text(stringResource(words), Modifier.padding(start = 8.dp))
    }
}

@Composable
fun Heading(@StringRes words: Int) {
    Text(
        stringResource(words),
        Modifier.padding(top = 8.dp).semantics { heading() },
        style = MaterialTheme.typography.titleMedium,
    )
}

/** A name and a value, under each other where the font is large. */
@OptIn(ExperimentalLayoutApi::class)
@Composable
fun Fact(name: String, value: String) {
    FlowRow(
        Modifier.fillMaxWidth().semantics(mergeDescendants = true) {},
        horizontalArrangement = Arrangement.SpaceBetween,
    ) {
        Text(name, Modifier.padding(end = 16.dp), color = MaterialTheme.colorScheme.onSurfaceVariant)
        Text(value)
    }
}

@Composable
fun NoticeCard(notice: Notice, onDismiss: () -> Unit) {
    val colours = if (isCalm(notice.kind)) {
        CardDefaults.cardColors(MaterialTheme.colorScheme.secondaryContainer)
    } else {
        CardDefaults.cardColors(MaterialTheme.colorScheme.errorContainer)
    }
    Card(Modifier.fillMaxWidth().semantics { liveRegion = LiveRegionMode.Polite }, colors = colours) {
        Row(Modifier.padding(start = 16.dp), verticalAlignment = Alignment.CenterVertically) {
            Column(Modifier.weight(1f).padding(vertical = 12.dp)) {
                Text(stringResource(titleOf(notice.kind)), style = MaterialTheme.typography.titleSmall)
                if (notice.detail.isNotEmpty()) {
                    Text(notice.detail, Modifier.padding(top = 4.dp), style = MaterialTheme.typography.bodySmall)
                }
            }
            IconAction(R.drawable.ic_close, stringResource(R.string.dismiss), onDismiss, Modifier.padding(4.dp).width(48.dp))
        }
    }
}

/** How a picture was drawn, in one line; in two where it is narrow, but no number without its unit. */
@Composable
fun historyLine(entry: HistoryEntry): String {
    val size = stringResource(R.string.size, entry.width, entry.height).unbroken()
    return stringResource(R.string.history_line, entry.seed.toString(), size, Shown.seconds(entry.total).unbroken())
}

private fun String.unbroken() = replace(' ', '\u00A0')

/** What a bundle can draw, in words. */
@Composable
fun sizesOf(card: BundleCard): String = card.sizes.map { stringResource(R.string.size, it.width, it.height) }.joinToString()
