package dreamlite.app.model

import dreamlite.app.model.StudioState.Importing
import dreamlite.app.model.StudioState.NoBundle
import dreamlite.app.model.StudioState.Ready
import dreamlite.app.model.StudioState.Running
import dreamlite.app.model.StudioState.Starting
import dreamlite.core.Mode
import dreamlite.core.PictureSize
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertIs
import kotlin.test.assertNull
import kotlin.test.assertSame

class ReducerTest {
    private val cards = listOf(DecisionsTest.card("a", 64), DecisionsTest.card("b", 128))
    private val desk = Desk(bundles = cards, current = "a", draft = Draft(prompt = "a red circle", seed = "7"))
    private val running = Running(desk, RunView(Mode.GENERATE, 7UL, 4, PictureSize(64, 64)))
    private val importing = Importing(desk, ImportView("c"))
    private val states = listOf(Starting(desk), NoBundle(Desk()), Ready(desk), running, importing)

    private fun entry(id: String) = HistoryEntry(id, Mode.GENERATE, "p", 7UL, 4, 64, 64, "a", "fp32", 1, emptyMap(), 1.0)

    private fun StudioState.after(vararg events: Event) = events.fold(this, Reducer::reduce)

    @Test
    fun `no bundle, an import, a run, a picture`() {
        val state = Starting().after(Event.Loaded(emptyList(), emptyList()))
        assertIs<NoBundle>(state)
        val imported = state.after(Event.ImportBegun("a"), Event.ImportEnded(cards, "b", null))
        assertEquals("b", assertIs<Ready>(imported).desk.current)
        val run = imported.after(Event.PromptTyped("a red circle"), Event.RunBegun(Mode.GENERATE, 9UL, 4, PictureSize(64, 64)))
        assertEquals("9", assertIs<Running>(run).desk.draft.seed)
        val done = run.after(Event.RunTold { it.copy(step = 1) }, Event.RunDone(entry("1")))
        assertEquals("1", assertIs<Ready>(done).desk.shown)
        assertEquals(listOf("1"), done.desk.history.map { it.id })
    }

    @Test
    fun `whatever ends a run leaves a state that can run`() {
        for (end in listOf(Event.RunDone(entry("1")), Event.RunEnded(null), Event.RunEnded(Notice(Notice.Kind.FAILED)))) {
            assertIs<Running>(running.after(end, Event.RunBegun(Mode.GENERATE, 1UL, 4, PictureSize(64, 64))))
        }
        assertIs<Ready>(importing.after(Event.ImportEnded(cards, null, Notice(Notice.Kind.BAD_BUNDLE))))
        assertIs<NoBundle>(importing.after(Event.ImportEnded(emptyList(), null, null)))
    }

    @Test
    fun `second taps and late news change nothing`() {
        val second = running.after(Event.RunBegun(Mode.EDIT, 8UL, 4, PictureSize(64, 64)))
        assertSame(running, second)
        assertSame(importing, importing.after(Event.RunBegun(Mode.EDIT, 8UL, 4, PictureSize(64, 64))))
        assertSame(running, running.after(Event.ImportBegun("x")))
        val ready = Ready(desk)
        val late = listOf(
            Event.RunTold { it.copy(step = 3) },
            Event.RunDone(entry("2")),
            Event.RunEnded(Notice(Notice.Kind.FAILED)),
            Event.ImportTold { it.copy(done = 5) },
            Event.ImportEnded(emptyList(), null, null),
            Event.Loaded(emptyList(), emptyList()),
        )
        for (event in late) assertSame(ready, ready.after(event), "$event")
    }

    @Test
    fun `what is on the desk can change in every state, and changes nothing else`() {
        for (state in states) {
            val told = Event.PhoneTold(PhoneFacts(heat = 3))
            val after = state.after(Event.PromptTyped("x"), Event.PagePicked(Page.PHONE), told, Event.LockToggled)
            assertEquals(state::class, after::class)
            assertEquals("x", after.desk.draft.prompt)
            assertEquals(Page.PHONE, after.desk.page)
            assertEquals(3, after.desk.phone.heat)
            assertEquals(!state.desk.draft.locked, after.desk.draft.locked)
        }
    }

    @Test
    fun `who types a seed keeps it, who rolls does not`() {
        val typed = Ready(desk).after(Event.SeedTyped("4x2"))
        assertEquals("42" to true, typed.desk.draft.seed to typed.desk.draft.locked)
        val rolled = Ready(desk).after(Event.Rolled(5UL))
        assertEquals("5" to false, rolled.desk.draft.seed to rolled.desk.draft.locked)
    }

    @Test
    fun `a size is chosen with the bundle that draws it, and kept where another bundle lacks it`() {
        val (square, high) = PictureSize(64, 64) to PictureSize(64, 96)
        val sized = desk.copy(bundles = listOf(cards[0].copy(sizes = listOf(square, high)), cards[1]))
        val picked = Ready(sized).after(Event.SizePicked("a", high))
        assertEquals("a" to high, picked.desk.current to picked.desk.size)
        val other = picked.after(Event.BundlePicked("b"))
        assertEquals(high to cards[1].sizes.single(), other.desk.draft.size to other.desk.size)
        assertEquals(high, other.after(Event.BundlePicked("a")).desk.size)
        assertEquals(sized, Ready(sized).after(Event.SizePicked("b", high)).desk)
        val running = assertIs<Running>(picked.after(Event.RunBegun(Mode.GENERATE, 1UL, 4, high)))
        assertEquals(high, assertIs<Running>(running.after(Event.SizePicked("a", square))).run.size)
    }

    @Test
    fun `a size chosen for an edit is of its picture only, and leaves that of new pictures as it was`() {
        val (square, high) = PictureSize(64, 64) to PictureSize(64, 96)
        val sized = Ready(desk.copy(bundles = listOf(cards[0].copy(sizes = listOf(square, high)))))
        fun photo(name: String) = Event.SourcePicked(Source(name, PictureSize(30, 40)))
        val edit = sized.after(Event.SizePicked("a", square), photo("1"))
        assertEquals(high, edit.desk.size)
        val chosen = edit.after(Event.SizePicked("a", square))
        assertEquals(square, chosen.desk.size)
        assertEquals(high, chosen.after(photo("2")).desk.size)
        val back = edit.after(Event.SizePicked("a", high), Event.SourcePicked(null))
        assertEquals(square to null, back.desk.size to back.desk.draft.editSize)
    }

    @Test
    fun `a deleted bundle is not chosen any more`() {
        val left = Ready(desk).after(Event.BundlesChanged(cards.drop(1)))
        assertEquals("b", left.desk.current)
        assertIs<NoBundle>(Ready(desk).after(Event.BundlesChanged(emptyList())))
        assertIs<Ready>(NoBundle(Desk()).after(Event.BundlesChanged(cards)))
        assertEquals("a", Ready(desk).after(Event.BundlePicked("nonsense")).desk.current)
    }

    @Test
    fun `a deleted picture is not shown any more, and what was shown before a restart is if it is there`() {
        val two = Ready(desk.copy(history = listOf(entry("1"), entry("2")), shown = "2"))
        val one = two.after(Event.EntryDeleted("2"))
        assertEquals(listOf("1"), one.desk.history.map { it.id })
        assertNull(one.desk.shown)
        val restored = Starting(Desk(shown = "gone")).after(Event.Loaded(cards, listOf(entry("1"))))
        assertNull(restored.desk.shown)
        assertEquals("1", Starting(Desk(shown = "1")).after(Event.Loaded(cards, listOf(entry("1")))).desk.shown)
    }
}
