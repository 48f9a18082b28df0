package dreamlite.app.ui

import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.ExperimentalLayoutApi
import androidx.compose.foundation.layout.FlowRow
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.heightIn
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.size
import androidx.compose.foundation.text.KeyboardOptions
import androidx.compose.material3.Button
import androidx.compose.material3.FilterChip
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.draw.clip
import androidx.compose.ui.layout.ContentScale
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.contentDescription
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.text.input.KeyboardType
import androidx.compose.ui.unit.dp
import dreamlite.app.R
import dreamlite.app.model.Desk
import dreamlite.app.model.Draft
import dreamlite.app.model.Event
import dreamlite.app.model.Sizes
import dreamlite.app.model.StudioState
import dreamlite.core.Mode
import kotlin.io.path.Path

/** What to draw: text, picture, seed, size, and the button. */
@Composable
fun DraftForm(state: StudioState, actions: Actions) {
    val desk = state.desk
    val draft = desk.draft
    if (state is StudioState.Running) StopButton(state.run.stopping, actions)
    SourceRow(draft, desk, actions)
    OutlinedTextField(
        value = draft.prompt,
        onValueChange = { actions.tell(Event.PromptTyped(it)) },
        modifier = Modifier.fillMaxWidth(),
        label = { Text(stringResource(if (draft.mode == Mode.EDIT) R.string.prompt_edit else R.string.prompt_generate)) },
        maxLines = 5,
    )
    SeedRow(draft, actions)
    SizeRow(desk, actions)
    val wrongMode = desk.bundle?.let { draft.mode !in it.modes } ?: false
    if (wrongMode) Text(stringResource(if (draft.mode == Mode.EDIT) R.string.no_edit else R.string.no_generate))
    if (state !is StudioState.Running) {
        Button(
            actions::run,
            Modifier.fillMaxWidth().heightIn(min = 56.dp),
            enabled = state is StudioState.Ready && draft.prompt.isNotBlank() && !wrongMode,
        ) {
            Text(stringResource(if (draft.mode == Mode.EDIT) R.string.edit else R.string.generate))
        }
    }
}

/** Above the form, next to the progress: it is looked for in a hurry. */
@Composable
private fun StopButton(stopping: Boolean, actions: Actions) {
    Button(actions::stop, Modifier.fillMaxWidth().heightIn(min = 56.dp), enabled = !stopping) {
        Text(stringResource(if (stopping) R.string.stopping else R.string.stop))
    }
}

@OptIn(ExperimentalLayoutApi::class)
@Composable
private fun SourceRow(draft: Draft, desk: Desk, actions: Actions) {
    val source = draft.source
    if (source == null) {
        if (desk.bundle?.modes?.contains(Mode.EDIT) != true) return
        FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp), verticalArrangement = Arrangement.spacedBy(4.dp)) {
            LabelledAction(R.drawable.ic_photo, R.string.pick_photo, actions::pickPhoto)
            LabelledAction(R.drawable.ic_camera, R.string.take_photo, actions::takePhoto)
        }
    } else {
        Row(verticalAlignment = Alignment.CenterVertically) {
            FilePicture(
                Path(source.file),
                stringResource(R.string.source_picture),
                Modifier.size(64.dp).clip(MaterialTheme.shapes.medium),
                ContentScale.Crop,
            )
            Text(stringResource(R.string.editing), Modifier.weight(1f).padding(horizontal = 12.dp))
            IconAction(R.drawable.ic_close, stringResource(R.string.remove_source), { actions.tell(Event.SourcePicked(null)) })
        }
    }
}

@Composable
private fun SeedRow(draft: Draft, actions: Actions) {
    Row(verticalAlignment = Alignment.CenterVertically) {
        OutlinedTextField(
            value = draft.seed,
            onValueChange = { actions.tell(Event.SeedTyped(it)) },
            modifier = Modifier.weight(1f),
            label = { Text(stringResource(R.string.seed)) },
            singleLine = true,
            keyboardOptions = KeyboardOptions(keyboardType = KeyboardType.Number),
        )
        IconAction(R.drawable.ic_dice, stringResource(R.string.seed_roll), actions::roll)
        IconAction(
            if (draft.locked) R.drawable.ic_lock else R.drawable.ic_unlock,
            stringResource(if (draft.locked) R.string.seed_locked else R.string.seed_free),
            { actions.tell(Event.LockToggled) },
        )
    }
}

/** The sizes of the bundle in use and of others like it; nothing where there is no choice. */
@OptIn(ExperimentalLayoutApi::class)
@Composable
private fun SizeRow(desk: Desk, actions: Actions) {
    val current = desk.bundle ?: return
    val choices = Sizes.of(desk.bundles, current, current.size(desk.draft))
    if (choices.size < 2) return
    Column {
        val words = if (current.followsSource(desk.draft)) R.string.sizes_like else R.string.sizes
        Text(stringResource(words), style = MaterialTheme.typography.labelMedium)
        FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp), verticalArrangement = Arrangement.spacedBy(4.dp)) {
            for (choice in choices) {
                val (width, height) = choice.size
                val spoken = stringResource(R.string.size_spoken, width, height)
                FilterChip(
                    selected = choice.chosen,
                    onClick = { actions.tell(Event.SizePicked(choice.bundle, choice.size)) },
                    label = { Text(stringResource(R.string.size, width, height), Modifier.semantics { contentDescription = spoken }) },
                )
            }
        }
    }
}
