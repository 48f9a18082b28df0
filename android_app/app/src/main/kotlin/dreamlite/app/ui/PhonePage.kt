package dreamlite.app.ui

import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.HorizontalDivider
import androidx.compose.runtime.Composable
import androidx.compose.runtime.LaunchedEffect
import androidx.compose.ui.Modifier
import androidx.compose.ui.res.stringArrayResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.unit.dp
import dreamlite.app.R
import dreamlite.app.model.Desk
import dreamlite.app.model.HistoryEntry
import dreamlite.app.model.PhoneFacts
import dreamlite.app.model.Shown

/** The phone, what runs on it, and where the time of the last picture went. */
@Composable
fun PhonePage(desk: Desk, actions: Actions, modifier: Modifier) {
    LaunchedEffect(Unit) { actions.refresh() }
    Column(modifier.fillMaxSize().verticalScroll(rememberScrollState()).padding(16.dp), Arrangement.spacedBy(8.dp)) {
        PhoneFactsList(desk.phone)
        HorizontalDivider()
        Heading(R.string.runtime_title)
        Fact(stringResource(R.string.runtime_executorch), stringResource(R.string.executorch_version))
        Fact(stringResource(R.string.runtime_qnn), stringResource(R.string.qnn_version).ifEmpty { stringResource(R.string.none) })
        desk.bundle?.let { card ->
            HorizontalDivider()
            Heading(R.string.model_title)
            Fact(stringResource(R.string.model_name), card.name)
            Fact(stringResource(R.string.model_backend), listOfNotNull(card.backend, card.soc).joinToString(" "))
            Fact(stringResource(R.string.model_precision), card.precision)
            Fact(stringResource(R.string.sizes), sizesOf(card))
        }
        desk.history.firstOrNull()?.let { Times(it) }
    }
}

@Composable
private fun PhoneFactsList(phone: PhoneFacts) {
    Heading(R.string.page_phone)
    val unknown = stringResource(R.string.unknown)
    Fact(stringResource(R.string.phone_model), phone.model)
    Fact(stringResource(R.string.phone_soc), phone.soc ?: unknown)
    Fact(stringResource(R.string.phone_android), phone.android)
    Fact(
        stringResource(R.string.phone_memory),
        stringResource(R.string.of_free, Shown.bytes(phone.freeMemory), Shown.bytes(phone.totalMemory)),
    )
    Fact(stringResource(R.string.phone_storage), Shown.bytes(phone.freeStorage))
    Fact(stringResource(R.string.phone_heat), stringArrayResource(R.array.heat).getOrElse(phone.heat) { unknown })
    Fact(stringResource(R.string.phone_headroom), phone.headroom?.let { "%.2f".format(it) } ?: unknown)
}

@Composable
private fun Times(entry: HistoryEntry) {
    HorizontalDivider()
    Heading(R.string.times_title)
    for ((stage, seconds) in entry.stages) Fact(wordsOf(stage)?.let { stringResource(it) } ?: stage, Shown.seconds(seconds))
    Fact(stringResource(R.string.total), Shown.seconds(entry.total))
}
