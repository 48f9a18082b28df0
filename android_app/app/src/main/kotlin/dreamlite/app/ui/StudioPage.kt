package dreamlite.app.ui

import androidx.compose.foundation.background
import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Box
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.ExperimentalLayoutApi
import androidx.compose.foundation.layout.FlowRow
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.aspectRatio
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.Button
import androidx.compose.material3.LinearProgressIndicator
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.draw.clip
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.semantics.LiveRegionMode
import androidx.compose.ui.semantics.liveRegion
import androidx.compose.ui.semantics.semantics
import androidx.compose.ui.text.style.TextAlign
import androidx.compose.ui.unit.dp
import dreamlite.app.R
import dreamlite.app.model.Desk
import dreamlite.app.model.Event
import dreamlite.app.model.HistoryEntry
import dreamlite.app.model.Page
import dreamlite.app.model.RunView
import dreamlite.app.model.StudioState
import dreamlite.core.Mode
import dreamlite.core.PictureSize

@Composable
fun StudioPage(state: StudioState, pictures: PictureFiles, actions: Actions, wide: Boolean, modifier: Modifier) {
    if (wide) {
        Row(modifier.fillMaxSize().padding(horizontal = 16.dp), Arrangement.spacedBy(16.dp)) {
            Stack(Modifier.weight(1f)) { Picture(state, pictures, actions) }
            Stack(Modifier.weight(1f)) { Controls(state, actions) }
        }
    } else {
        Stack(modifier.fillMaxSize().padding(horizontal = 16.dp)) {
            Picture(state, pictures, actions)
            Controls(state, actions)
        }
    }
}

@Composable
private fun Stack(modifier: Modifier, content: @Composable () -> Unit) {
    Column(modifier.verticalScroll(rememberScrollState()).padding(vertical = 16.dp), Arrangement.spacedBy(12.dp)) { content() }
}

@Composable
private fun Controls(state: StudioState, actions: Actions) {
    state.desk.notice?.let { NoticeCard(it) { actions.tell(Event.Told(null)) } }
    if (state is StudioState.NoBundle) {
        Button({ actions.tell(Event.PagePicked(Page.MODELS)) }, Modifier.fillMaxWidth()) { Text(stringResource(R.string.to_models)) }
    } else {
        DraftForm(state, actions)
    }
}

@Composable
private fun Picture(state: StudioState, pictures: PictureFiles, actions: Actions) {
    val entry = state.desk.entry
    val (width, height) = sizeOf(state, entry)
    val frame = Modifier.fillMaxWidth().aspectRatio(width.toFloat() / height).clip(MaterialTheme.shapes.large)
    when {
        state is StudioState.Running -> Going(state.run, frame)
        entry != null -> Result(state.desk, entry, pictures, actions, frame)
        else -> Empty(if (state is StudioState.NoBundle) R.string.no_bundle else R.string.empty_easel, frame)
    }
}

/** Of what the frame shows: a picture as it comes, one that was drawn, or the place of the next. */
private fun sizeOf(state: StudioState, entry: HistoryEntry?): PictureSize = when {
    state is StudioState.Running -> state.run.size
    entry != null -> PictureSize(entry.width, entry.height)
    else -> state.desk.size ?: PictureSize(1, 1)
}

@Composable
private fun Empty(words: Int, frame: Modifier) {
    Box(frame.background(MaterialTheme.colorScheme.surfaceVariant), Alignment.Center) {
        Text(
            stringResource(words),
            Modifier.padding(24.dp),
            color = MaterialTheme.colorScheme.onSurfaceVariant,
            textAlign = TextAlign.Center,
        )
    }
}

/** The picture as it comes, and how far it is. */
@Composable
private fun Going(run: RunView, frame: Modifier) {
    val preview = run.preview
    Box(frame.background(MaterialTheme.colorScheme.surfaceVariant), Alignment.Center) {
        if (preview != null) {
            PreviewPicture(preview, stringResource(R.string.preview_of, run.step, run.steps), Modifier.fillMaxSize())
        }
    }
    if (run.step == 0) {
        LinearProgressIndicator(Modifier.fillMaxWidth())
    } else {
        LinearProgressIndicator({ run.step.toFloat() / run.steps }, Modifier.fillMaxWidth())
    }
    Text(progressWords(run), Modifier.semantics { liveRegion = LiveRegionMode.Polite })
}

@Composable
private fun progressWords(run: RunView): String = when {
    run.stopping -> stringResource(R.string.stopping)
    run.cooling -> stringResource(R.string.cooling)
    run.stage == "unet" && run.step > 0 -> stringResource(R.string.step_of, run.step, run.steps)
    else -> wordsOf(run.stage)?.let { stringResource(it) } ?: stringResource(R.string.preparing)
}

@OptIn(ExperimentalLayoutApi::class)
@Composable
private fun Result(desk: Desk, entry: HistoryEntry, pictures: PictureFiles, actions: Actions, frame: Modifier) {
    val words = stringResource(R.string.picture_of, entry.prompt)
    val source = pictures.source(entry)
    if (source != null) BeforeAfter(source, pictures.picture(entry), words, frame) else FilePicture(pictures.picture(entry), words, frame)
    Text(entry.prompt, style = MaterialTheme.typography.bodyLarge)
    Text(
        historyLine(entry),
        color = MaterialTheme.colorScheme.onSurfaceVariant,
        style = MaterialTheme.typography.bodySmall,
    )
    FlowRow(horizontalArrangement = Arrangement.spacedBy(8.dp), verticalArrangement = Arrangement.spacedBy(4.dp)) {
        val canEdit = desk.bundle?.modes?.contains(Mode.EDIT) ?: false
        if (canEdit) LabelledAction(R.drawable.ic_edit, R.string.edit_again, { actions.editAgain(entry) })
        LabelledAction(R.drawable.ic_save, R.string.save, { actions.save(entry) })
        LabelledAction(R.drawable.ic_share, R.string.share, { actions.share(entry) })
    }
}
