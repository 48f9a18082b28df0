package dreamlite.app.model

import dreamlite.app.model.StudioState.Importing
import dreamlite.app.model.StudioState.NoBundle
import dreamlite.app.model.StudioState.Ready
import dreamlite.app.model.StudioState.Running
import dreamlite.app.model.StudioState.Starting
import dreamlite.core.Mode
import dreamlite.core.PictureSize

/** What can happen, from fingers, runs, imports and the phone. */
sealed interface Event {
    data class Loaded(val bundles: List<BundleCard>, val history: List<HistoryEntry>) : Event

    data class PagePicked(val page: Page) : Event

    data class PromptTyped(val text: String) : Event

    data class SeedTyped(val text: String) : Event

    data class Rolled(val seed: ULong) : Event

    data object LockToggled : Event

    /** Null: a new picture is drawn. Every source begins without a chosen size. */
    data class SourcePicked(val source: Source?) : Event

    data class BundlePicked(val name: String) : Event

    /** A size, and the bundle that draws it. */
    data class SizePicked(val bundle: String, val size: PictureSize) : Event

    data class BundlesChanged(val bundles: List<BundleCard>) : Event

    data class PushedFound(val pushed: List<PushedBundle>) : Event

    data class RunBegun(val mode: Mode, val seed: ULong, val steps: Int, val size: PictureSize) : Event

    data class RunTold(val change: (RunView) -> RunView) : Event

    data class RunDone(val entry: HistoryEntry) : Event

    data class RunEnded(val notice: Notice?) : Event

    data class ImportBegun(val name: String) : Event

    data class ImportTold(val change: (ImportView) -> ImportView) : Event

    data class ImportEnded(val bundles: List<BundleCard>, val name: String?, val notice: Notice?) : Event

    data class EntryShown(val id: String?) : Event

    data class EntryDeleted(val id: String) : Event

    data class Told(val notice: Notice?) : Event

    data class PhoneTold(val phone: PhoneFacts) : Event
}

/** Every change of the state. Events that do not belong to what goes on (late ones, second taps) change nothing. */
object Reducer {
    fun reduce(state: StudioState, event: Event): StudioState = when (event) {
        is Event.Loaded -> if (state is Starting) rest(loaded(state.desk, event)) else state
        is Event.RunBegun -> if (state is Ready) begun(state, event) else state
        is Event.RunTold -> if (state is Running) state.copy(run = event.change(state.run)) else state
        is Event.RunDone -> if (state is Running) rest(drawn(state.desk, event.entry)) else state
        is Event.RunEnded -> if (state is Running) rest(state.desk.copy(notice = event.notice ?: state.desk.notice)) else state
        is Event.ImportBegun -> when (state) {
            is Ready, is NoBundle -> Importing(state.desk.copy(notice = null), ImportView(event.name))
            else -> state
        }
        is Event.ImportTold -> if (state is Importing) state.copy(work = event.change(state.work)) else state
        is Event.ImportEnded -> if (state is Importing) rest(imported(state.desk, event)) else state
        is Event.BundlesChanged -> when (state) {
            is Ready, is NoBundle -> rest(withBundles(state.desk, event.bundles))
            else -> withDesk(state, withBundles(state.desk, event.bundles))
        }
        else -> withDesk(state, desk(state.desk, event))
    }

    private fun desk(desk: Desk, event: Event): Desk = when (event) {
        is Event.PagePicked -> desk.copy(page = event.page)
        is Event.PromptTyped -> desk.copy(draft = desk.draft.copy(prompt = event.text))
        // Who types a seed wants that one.
        is Event.SeedTyped -> desk.copy(draft = desk.draft.copy(seed = Seeds.typed(event.text), locked = true))
        is Event.Rolled -> desk.copy(draft = desk.draft.copy(seed = event.seed.toString()))
        is Event.LockToggled -> desk.copy(draft = desk.draft.copy(locked = !desk.draft.locked))
        is Event.SourcePicked -> {
            desk.copy(page = Page.STUDIO, draft = desk.draft.copy(source = event.source, editSize = null), notice = null)
        }
        is Event.BundlePicked -> if (desk.bundles.any { it.name == event.name }) desk.copy(current = event.name) else desk
        is Event.SizePicked -> {
            val known = desk.bundles.any { it.name == event.bundle && event.size in it.sizes }
            if (known) desk.copy(current = event.bundle, draft = desk.draft.sized(event.size)) else desk
        }
        is Event.PushedFound -> desk.copy(pushed = event.pushed)
        is Event.EntryShown -> desk.copy(page = Page.STUDIO, shown = event.id)
        is Event.EntryDeleted -> desk.copy(
            history = desk.history.filter { it.id != event.id },
            shown = desk.shown.takeIf { it != event.id },
        )
        is Event.Told -> desk.copy(notice = event.notice)
        is Event.PhoneTold -> desk.copy(phone = event.phone)
        else -> desk
    }

    private fun loaded(desk: Desk, event: Event.Loaded): Desk {
        val known = desk.shown.takeIf { id -> event.history.any { it.id == id } }
        return withBundles(desk.copy(history = event.history, shown = known), event.bundles)
    }

    private fun begun(state: Ready, event: Event.RunBegun): Running {
        val draft = state.desk.draft.copy(seed = event.seed.toString())
        val run = RunView(event.mode, event.seed, event.steps, event.size)
        return Running(state.desk.copy(draft = draft, notice = null, page = Page.STUDIO), run)
    }

    private fun drawn(desk: Desk, entry: HistoryEntry) = desk.copy(history = listOf(entry) + desk.history, shown = entry.id)

    private fun imported(desk: Desk, event: Event.ImportEnded): Desk =
        withBundles(desk, event.bundles).let { it.copy(current = event.name ?: it.current, notice = event.notice) }

    private fun withBundles(desk: Desk, bundles: List<BundleCard>): Desk {
        val kept = desk.current.takeIf { name -> bundles.any { it.name == name } }
        return desk.copy(bundles = bundles, current = kept ?: bundles.firstOrNull()?.name)
    }

    private fun rest(desk: Desk): StudioState = if (desk.bundles.isEmpty()) NoBundle(desk) else Ready(desk)

    private fun withDesk(state: StudioState, desk: Desk): StudioState = when (state) {
        is Starting -> state.copy(desk = desk)
        is NoBundle -> state.copy(desk = desk)
        is Ready -> state.copy(desk = desk)
        is Running -> state.copy(desk = desk)
        is Importing -> state.copy(desk = desk)
    }
}
