package dreamlite.app.ui

import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.ExperimentalLayoutApi
import androidx.compose.foundation.layout.FlowRow
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.Button
import androidx.compose.material3.Card
import androidx.compose.material3.LinearProgressIndicator
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedButton
import androidx.compose.material3.Text
import androidx.compose.material3.TextButton
import androidx.compose.runtime.Composable
import androidx.compose.runtime.LaunchedEffect
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.saveable.rememberSaveable
import androidx.compose.runtime.setValue
import androidx.compose.ui.Modifier
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.unit.dp
import dreamlite.app.R
import dreamlite.app.model.BundleCard
import dreamlite.app.model.Event
import dreamlite.app.model.ImportView
import dreamlite.app.model.PushedBundle
import dreamlite.app.model.Shown
import dreamlite.app.model.StudioState

/** The bundles that are here, and three ways to get another. */
@OptIn(ExperimentalLayoutApi::class)
@Composable
fun ModelsPage(state: StudioState, actions: Actions, modifier: Modifier) {
    val desk = state.desk
    val free = state is StudioState.Ready || state is StudioState.NoBundle
    LaunchedEffect(Unit) { actions.refresh() }
    Column(
        modifier.fillMaxSize().verticalScroll(rememberScrollState()).padding(16.dp),
        Arrangement.spacedBy(12.dp),
    ) {
        desk.notice?.let { NoticeCard(it) { actions.tell(Event.Told(null)) } }
        if (state is StudioState.Importing) ImportCard(state.work, actions)
        if (desk.bundles.isEmpty() && free) Text(stringResource(R.string.models_empty))
        for (card in desk.bundles) ModelCard(card, card.name == desk.current, free, actions)
        FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp), verticalArrangement = Arrangement.spacedBy(4.dp)) {
            LabelledAction(R.drawable.ic_folder, R.string.import_folder, actions::importFolder, enabled = free)
            LabelledAction(R.drawable.ic_models, R.string.import_zip, actions::importZip, enabled = free)
        }
        if (desk.pushed.isNotEmpty()) {
            Heading(R.string.pushed_title)
            for (pushed in desk.pushed) PushedCard(pushed, free, actions)
        }
    }
}

@Composable
private fun ImportCard(work: ImportView, actions: Actions) {
    val room = work.room
    Card(Modifier.fillMaxWidth()) {
        Column(Modifier.padding(16.dp), Arrangement.spacedBy(8.dp)) {
            Text(stringResource(R.string.importing, work.name), style = MaterialTheme.typography.titleMedium)
            if (room == null) {
                LinearProgressIndicator(Modifier.fillMaxWidth())
            } else {
                LinearProgressIndicator({ (work.done.toDouble() / room.bytes).toFloat() }, Modifier.fillMaxWidth())
                Text(stringResource(R.string.import_progress, Shown.bytes(work.done), Shown.bytes(room.bytes)))
                Text(stringResource(R.string.room_storage, Shown.bytes(room.bytes), Shown.bytes(room.freeStorage)))
                Text(stringResource(R.string.room_memory, Shown.bytes(room.memory), Shown.bytes(room.totalMemory)))
            }
            OutlinedButton(actions::stop, enabled = !work.stopping) {
                Text(stringResource(if (work.stopping) R.string.stopping else R.string.stop))
            }
        }
    }
}

@OptIn(ExperimentalLayoutApi::class)
@Composable
private fun ModelCard(card: BundleCard, used: Boolean, free: Boolean, actions: Actions) {
    var sure by rememberSaveable(card.name) { mutableStateOf(false) }
    Card(Modifier.fillMaxWidth()) {
        Column(Modifier.padding(16.dp), Arrangement.spacedBy(4.dp)) {
            Text(card.name, style = MaterialTheme.typography.titleMedium)
            val size = sizesOf(card)
            val soc = card.soc
            val backend = "${card.backend} ${card.precision}"
            val kind = if (soc == null) backend else stringResource(R.string.model_soc, backend, soc)
            Text(stringResource(R.string.model_kind, kind, size))
            Text(
                stringResource(R.string.model_size, Shown.bytes(card.bytes), Shown.bytes(card.memory)),
                style = MaterialTheme.typography.bodySmall,
            )
            Text(stringResource(R.string.model_licence, card.licence), style = MaterialTheme.typography.bodySmall)
            FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp), verticalArrangement = Arrangement.spacedBy(4.dp)) {
                Button({ actions.tell(Event.BundlePicked(card.name)) }, enabled = free && !used) {
                    Text(stringResource(if (used) R.string.in_use else R.string.use))
                }
                if (sure) {
                    OutlinedButton({ actions.deleteBundle(card.name) }, enabled = free) { Text(stringResource(R.string.delete_sure)) }
                    TextButton({ sure = false }) { Text(stringResource(R.string.keep)) }
                } else {
                    val words = stringResource(R.string.delete_model, card.name)
                    IconAction(R.drawable.ic_delete, words, { sure = true }, enabled = free)
                }
            }
        }
    }
}

@OptIn(ExperimentalLayoutApi::class)
@Composable
private fun PushedCard(pushed: PushedBundle, free: Boolean, actions: Actions) {
    Card(Modifier.fillMaxWidth()) {
        FlowRow(Modifier.padding(16.dp).fillMaxWidth(), Arrangement.SpaceBetween) {
            Text(pushed.label, Modifier.padding(top = 12.dp))
            Button({ actions.importPushed(pushed.path) }, enabled = free) { Text(stringResource(R.string.import_pushed)) }
        }
    }
}
