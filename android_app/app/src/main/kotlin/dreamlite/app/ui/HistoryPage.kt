package dreamlite.app.ui

import androidx.compose.foundation.clickable
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Box
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.PaddingValues
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.aspectRatio
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.lazy.grid.GridCells
import androidx.compose.foundation.lazy.grid.LazyVerticalGrid
import androidx.compose.foundation.lazy.grid.items
import androidx.compose.material3.Card
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.layout.ContentScale
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.text.style.TextAlign
import androidx.compose.ui.text.style.TextOverflow
import androidx.compose.ui.unit.dp
import dreamlite.app.R
import dreamlite.app.model.Event
import dreamlite.app.model.HistoryEntry

/** Everything that was drawn, the newest first. */
@Composable
fun HistoryPage(history: List<HistoryEntry>, pictures: PictureFiles, actions: Actions, modifier: Modifier) {
    if (history.isEmpty()) {
        Box(modifier.fillMaxSize(), Alignment.Center) {
            Text(stringResource(R.string.history_empty), Modifier.padding(24.dp), textAlign = TextAlign.Center)
        }
        return
    }
    LazyVerticalGrid(
        GridCells.Adaptive(150.dp),
        modifier.fillMaxSize(),
        contentPadding = PaddingValues(16.dp),
        horizontalArrangement = Arrangement.spacedBy(12.dp),
        verticalArrangement = Arrangement.spacedBy(12.dp),
    ) {
        items(history, { it.id }) { entry -> EntryCard(entry, pictures, actions) }
    }
}

@Composable
private fun EntryCard(entry: HistoryEntry, pictures: PictureFiles, actions: Actions) {
    Card {
        FilePicture(
            pictures.thumb(entry),
            stringResource(R.string.open_picture, entry.prompt),
            Modifier.fillMaxWidth().aspectRatio(1f).clickable { actions.tell(Event.EntryShown(entry.id)) },
            ContentScale.Crop,
        )
        Column(Modifier.padding(start = 12.dp, end = 12.dp, top = 8.dp)) {
            Text(entry.prompt, maxLines = 2, overflow = TextOverflow.Ellipsis, style = MaterialTheme.typography.bodyMedium)
            Text(
                historyLine(entry),
                style = MaterialTheme.typography.bodySmall,
                color = MaterialTheme.colorScheme.onSurfaceVariant,
            )
        }
        Row(Modifier.fillMaxWidth(), Arrangement.End) {
            IconAction(R.drawable.ic_share, stringResource(R.string.share_picture, entry.prompt), { actions.share(entry) })
            IconAction(R.drawable.ic_delete, stringResource(R.string.delete_picture, entry.prompt), { actions.delete(entry) })
        }
    }
}
