package dreamlite.app

import android.app.Application
import android.net.Uri
import android.os.Bundle
import androidx.core.os.bundleOf
import androidx.lifecycle.AndroidViewModel
import androidx.lifecycle.SavedStateHandle
import androidx.lifecycle.viewModelScope
import dreamlite.app.data.ImportFrom
import dreamlite.app.data.Imports
import dreamlite.app.data.Listener
import dreamlite.app.data.Order
import dreamlite.app.data.Photos
import dreamlite.app.data.Png
import dreamlite.app.data.importStopped
import dreamlite.app.model.Desk
import dreamlite.app.model.Draft
import dreamlite.app.model.Event
import dreamlite.app.model.HistoryEntry
import dreamlite.app.model.ImportView
import dreamlite.app.model.Names
import dreamlite.app.model.Notice
import dreamlite.app.model.Page
import dreamlite.app.model.Reducer
import dreamlite.app.model.RunView
import dreamlite.app.model.Seeds
import dreamlite.app.model.Source
import dreamlite.app.model.StudioState
import dreamlite.core.PictureSize
import kotlinx.coroutines.Job
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import java.io.InputStream
import java.nio.file.Files
import java.nio.file.Path
import kotlin.io.path.Path
import kotlin.io.path.listDirectoryEntries
import kotlin.random.Random

/** One state, what fingers ask for, and the work that follows. Survives rotation; [Desk] survives the process. */
class StudioViewModel(application: Application, handle: SavedStateHandle) : AndroidViewModel(application) {
    private val parts = (application as DreamLiteApp).parts
    private val states: MutableStateFlow<StudioState>
    private var job: Job? = null

    @Volatile
    private var importStops = false
    val state: StateFlow<StudioState> get() = states

    init {
        val saved = handle.get<Bundle>(SAVED)
        states = MutableStateFlow(StudioState.Starting(SavedDesk.read(saved)))
        handle.setSavedStateProvider(SAVED) { SavedDesk.write(state.value) }
        start(interrupted = saved?.getBoolean(SavedDesk.RUNNING) ?: false)
    }

    fun tell(event: Event) = states.update { Reducer.reduce(it, event) }

    fun roll() = tell(Event.Rolled(Seeds.rolled(Random)))

    /** Draws what the draft says. A second tap finds a run and does nothing. */
    fun run() {
        val desk = (state.value as? StudioState.Ready)?.desk ?: return
        val card = desk.bundle ?: return
        val draft = desk.draft
        if (draft.prompt.isBlank()) return
        val seed = if (draft.locked) Seeds.parse(draft.seed) else Seeds.rolled(Random)
        if (seed == null) return tell(Event.Told(Notice(Notice.Kind.BAD_SEED)))
        val size = card.size(draft)
        tell(Event.RunBegun(draft.mode, seed, card.steps, size))
        job = viewModelScope.launch {
            showRun()
            val order = Order(card.name, draft.prompt, seed, draft.source?.let { Path(it.file) }, size)
            tell(outcome { Event.RunDone(parts.drawing.draw(order, listener())) })
            parts.notices.hide()
        }
    }

    /** Ends a run before its next component call, an import at its next piece. */
    fun stop() {
        tell(Event.RunTold { it.copy(stopping = true) })
        tell(Event.ImportTold { it.copy(stopping = true) })
        importStops = true
        if (state.value is StudioState.Running) job?.cancel()
    }

    fun import(kind: ImportFrom.Kind, place: String, label: String) {
        val desk = state.value.desk
        import(ImportFrom(kind, place, Names.of(label, desk.bundles.map { it.name })))
    }

    fun importPicked(uri: Uri, isTree: Boolean) {
        val kind = if (isTree) ImportFrom.Kind.TREE else ImportFrom.Kind.ZIP
        import(kind, uri.toString(), parts.sources.nameOf(uri, isTree))
    }

    /** Frees the bundle first: it may be the one that is loaded. */
    fun deleteBundle(name: String) {
        if (state.value !is StudioState.Ready) return
        viewModelScope.launch {
            val problem = failure(Notice.Kind.FAILED) {
                parts.easel.drop()
                parts.imports.delete(name)
            }
            tell(Event.BundlesChanged(withContext(parts.work) { parts.imports.cards() }))
            if (problem != null) tell(Event.Told(problem))
        }
    }

    /** What changed outside: bundles pushed over adb, the phone's heat and memory. */
    fun refresh() {
        viewModelScope.launch {
            val pushed = withContext(parts.work) { Imports.pushed(parts.pushed) }
            tell(Event.PushedFound(pushed))
            tell(Event.PhoneTold(parts.phone.facts()))
        }
    }

    /** A photo, picked or taken, becomes what the next run changes. */
    fun pick(open: () -> InputStream) {
        viewModelScope.launch {
            try {
                val source = withContext(parts.work) {
                    val picture = Photos.read(open).also { it.checkSource() }
                    val file = Files.createDirectories(sourceFolder()).resolve("${System.nanoTime()}.png")
                    Files.write(file, Png.encode(picture))
                    Source(file.toString(), picture.size)
                }
                tell(Event.SourcePicked(source))
            } catch (error: Exception) {
                tell(Event.Told(Problems.of(error, Notice.Kind.BAD_PICTURE)))
            }
        }
    }

    fun editAgain(entry: HistoryEntry) {
        val file = parts.history.picture(entry.id).toString()
        tell(Event.SourcePicked(Source(file, PictureSize(entry.width, entry.height))))
    }

    fun deleteEntry(entry: HistoryEntry) {
        tell(Event.EntryDeleted(entry.id))
        if (state.value.desk.draft.source?.file == parts.history.picture(entry.id).toString()) tell(Event.SourcePicked(null))
        viewModelScope.launch { failure(Notice.Kind.FAILED) { parts.history.delete(entry.id) }?.let { tell(Event.Told(it)) } }
    }

    fun save(entry: HistoryEntry) {
        viewModelScope.launch {
            val problem = failure(Notice.Kind.NOT_SAVED) { parts.gallery.save(parts.history.picture(entry.id), entry) }
            tell(Event.Told(problem ?: Notice(Notice.Kind.SAVED)))
        }
    }

    override fun onCleared() {
        parts.notices.hide()
    }

    private fun start(interrupted: Boolean) {
        viewModelScope.launch {
            parts.phone.heat.collect { tell(Event.PhoneTold(parts.phone.facts())) }
        }
        viewModelScope.launch {
            var loaded = Event.Loaded(emptyList(), emptyList())
            var left: ImportFrom? = null
            val problem = failure(Notice.Kind.FAILED) {
                loaded = Event.Loaded(parts.imports.cards(), parts.history.list())
                left = parts.imports.interrupted()
                parts.imports.clearUnfinished()
                clearSources(state.value.desk.draft.source?.file)
            }
            tell(loaded)
            if (problem != null) tell(Event.Told(problem))
            if (state.value.desk.draft.seed.isEmpty()) roll()
            if (interrupted) tell(Event.Told(Notice(Notice.Kind.INTERRUPTED)))
            refresh()
            left?.let { import(it) }
        }
    }

    private fun import(from: ImportFrom) {
        if (state.value !is StudioState.Ready && state.value !is StudioState.NoBundle) return
        tell(Event.ImportBegun(from.name))
        importStops = false
        job = viewModelScope.launch {
            val end = outcome {
                withContext(parts.work) {
                    parts.imports.run(from, { room -> toldImport { it.copy(room = room) } }) { bytes ->
                        ensureActive()
                        advance(bytes)
                    }
                }
                Event.ImportEnded(withContext(parts.work) { parts.imports.cards() }, from.name, null)
            }
            val notice = (end as? Event.RunEnded)?.notice?.let { if (importStops) Notice(Notice.Kind.STOPPED) else it }
            tell(if (end is Event.ImportEnded) end else Event.ImportEnded(withContext(parts.work) { parts.imports.cards() }, null, notice))
        }
    }

    private fun advance(bytes: Long) {
        if (importStops) throw importStopped()
        toldImport { it.copy(done = it.done + bytes) }
    }

    private fun toldImport(change: (ImportView) -> ImportView) = tell(Event.ImportTold(change))

    private fun listener() = object : Listener {
        override fun run(change: (RunView) -> RunView) {
            tell(Event.RunTold(change))
            showRun()
        }

        override fun notice(notice: Notice) = tell(Event.Told(notice))
    }

    private fun showRun() {
        val running = state.value as? StudioState.Running ?: return
        parts.notices.show(running.run, ::stop)
    }

    /** What [work] gives, or how it ended. The state is never left as it was. */
    private suspend fun outcome(work: suspend () -> Event): Event = try {
        work()
    } catch (error: Throwable) {
        Event.RunEnded(Problems.of(error, Notice.Kind.FAILED))
    }

    /** How work on files failed, or null. */
    private suspend fun failure(usual: Notice.Kind, work: () -> Unit): Notice? = try {
        withContext(parts.work) { work() }
        null
    } catch (error: Exception) {
        Problems.of(error, usual)
    }

    private fun sourceFolder() = parts.home.resolve("sources")

    private fun clearSources(kept: String?) {
        if (!Files.isDirectory(sourceFolder())) return
        sourceFolder().listDirectoryEntries().filter { it.toString() != kept }.forEach(Files::delete)
    }

    private companion object {
        const val SAVED = "desk"
    }
}

/** What of the desk outlives the process: what was written and chosen, and whether a run was going on. */
internal object SavedDesk {
    const val RUNNING = "running"

    fun write(state: StudioState): Bundle = with(state.desk) {
        bundleOf(
            "page" to page.name,
            "prompt" to draft.prompt,
            "seed" to draft.seed,
            "locked" to draft.locked,
            "source" to draft.source?.file,
            "sourceWidth" to draft.source?.size?.width,
            "sourceHeight" to draft.source?.size?.height,
            "size" to draft.size?.toString(),
            "editSize" to draft.editSize?.toString(),
            "current" to current,
            "shown" to shown,
            RUNNING to (state is StudioState.Running),
        )
    }

    fun read(bundle: Bundle?): Desk {
        if (bundle == null) return Desk()
        val draft = Draft(
            prompt = bundle.getString("prompt").orEmpty(),
            seed = bundle.getString("seed").orEmpty(),
            locked = bundle.getBoolean("locked"),
            source = source(bundle),
            size = bundle.getString("size")?.let(PictureSize::parse),
            editSize = bundle.getString("editSize")?.let(PictureSize::parse),
        )
        val page = Page.entries.firstOrNull { it.name == bundle.getString("page") } ?: Page.STUDIO
        return Desk(page = page, draft = draft, current = bundle.getString("current"), shown = bundle.getString("shown"))
    }

    private fun source(bundle: Bundle): Source? {
        val file = bundle.getString("source")?.takeIf { Files.isRegularFile(Path(it)) } ?: return null
        return Source(file, PictureSize(bundle.getInt("sourceWidth"), bundle.getInt("sourceHeight")))
    }
}
