package dreamlite.app

import androidx.compose.ui.semantics.SemanticsActions
import androidx.compose.ui.semantics.SemanticsNode
import androidx.compose.ui.semantics.SemanticsProperties
import androidx.compose.ui.semantics.getOrNull
import dreamlite.app.data.Photos
import dreamlite.app.data.Png
import dreamlite.app.model.Notice
import dreamlite.app.model.Page
import dreamlite.app.model.StudioState
import dreamlite.core.Mode
import dreamlite.core.Picture
import org.junit.After
import org.junit.Test
import org.junit.runner.RunWith
import org.pytorch.executorch.Module
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import java.nio.file.Files
import java.util.concurrent.CountDownLatch
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertIs
import kotlin.test.assertNotEquals
import kotlin.test.assertTrue

/** The whole app by its buttons, over the real programs of the tiny checkpoint and ExecuTorch's own library. */
@RunWith(RobolectricTestRunner::class)
@Config(application = TestApp::class)
class TapThroughTest {
    @After
    fun putDown() = PhoneInHand.putDown()

    @Test
    fun `from an empty phone to an edited picture, and back`() {
        val phone = PhoneInHand()
        val screen = phone.screen
        assertIs<StudioState.NoBundle>(phone.state)
        screen.tap("Import a model")
        assertEquals(Page.MODELS, phone.state.desk.page)
        phone.importZip()
        screen.awaitWords("In use")
        assertEquals(listOf("tiny"), phone.state.desk.bundles.map { it.name })

        screen.tap("Studio")
        assertFalse(screen.isEnabled("Generate"))
        screen.type("Describe a picture", "a red circle left of a blue square")
        screen.type("Seed", "42")
        assertTrue(screen.has("Seed is kept. Tap to roll a new one for every picture."))
        val steps = phone.state.desk.bundle!!.steps
        val seen = sortedSetOf<String>()
        screen.tap("Generate")
        screen.await("picture") {
            seen += screen.words().filter { it.startsWith("Preview after step") }
            phone.state is StudioState.Ready
        }
        assertTrue(phone.parts.noticed.mapNotNull { it?.preview }.isNotEmpty())
        assertEquals((0..steps).toSet(), phone.parts.noticed.mapNotNull { it?.step }.toSet())
        assertEquals(null, phone.parts.noticed.last())
        screen.awaitWords("Picture: a red circle left of a blue square")
        val first = phone.state.desk.history.single()
        assertEquals(42UL to Mode.GENERATE, first.seed to first.mode)
        assertTrue(first.stages.keys.containsAll(setOf("text_encoder", "unet", "vae_decoder")))

        screen.tap("Edit this picture")
        screen.awaitWords("Picture to change")
        screen.type("Say what to change", "make the circle yellow")
        screen.tap("Edit")
        screen.await("edit") { phone.state is StudioState.Ready }
        screen.awaitWords("Before and after")
        val slider = screen.nodes().single { SemanticsActions.SetProgress in it.config }
        slider.config[SemanticsActions.SetProgress].action!!(0.2f)
        screen.awaitWords("Picture: make the circle yellow")
        assertNotEquals(bytes(phone, 0), bytes(phone, 1))

        screen.tap("Save to gallery")
        screen.awaitWords("Saved in Pictures/DreamLite")
        assertEquals("make the circle yellow", phone.parts.saved.single().second.prompt)
        screen.tap("Dismiss")

        screen.tap("History")
        screen.awaitWords("Open picture: a red circle left of a blue square")
        screen.tap("Delete picture: make the circle yellow")
        screen.await("deleted") { phone.state.desk.history == listOf(first) }
        screen.tap("Open picture: a red circle left of a blue square")
        assertEquals(Page.STUDIO, phone.state.desk.page)
        screen.tap("Phone")
        assertTrue(screen.words().containsAll(listOf("Model in use", "Last picture", "ExecuTorch")), screen.words().toString())

        screen.tap("Models")
        screen.tap("Delete tiny")
        screen.tap("Delete for good")
        screen.await("bundle gone") { phone.state is StudioState.NoBundle }
        assertNothingOpen(phone)
    }

    @Test
    fun `the same seed draws the same picture, another seed another`() {
        val phone = PhoneInHand().withBundle()
        for (seed in listOf("1", "1", "2")) {
            phone.screen.type("Describe a picture", "a green triangle")
            phone.screen.type("Seed", seed)
            val before = phone.state.desk.history.size
            phone.screen.tap("Generate")
            phone.screen.await("picture") { phone.state.desk.history.size > before }
        }
        val (third, second, first) = List(3) { bytes(phone, it) }
        assertEquals(first, second)
        assertNotEquals(second, third)
        phone.parts.trim(80)
        assertNothingOpen(phone)
    }

    @Test
    fun `a tap on another size draws a picture of that size, also after a rotation and a restart`() {
        val phone = PhoneInHand().withBundle()
        val screen = phone.screen
        val (square, high) = "64 pixels wide, 64 high" to "64 pixels wide, 96 high"
        assertFalse(screen.has(square))
        screen.tap("Models")
        phone.importZip(sizedBundle(), "two-sizes")
        screen.await("import") { phone.state is StudioState.Ready }
        screen.tap("Studio")
        screen.type("Describe a picture", "a blue square")
        screen.type("Seed", "5")
        assertEquals(square, chosen(screen))
        screen.tap(high)
        phone.rotate()
        assertEquals(high, chosen(screen))
        phone.dieAndComeBack()
        screen.await("start") { phone.state is StudioState.Ready }
        assertEquals(high, chosen(screen))
        screen.tap("Generate")
        screen.await("picture") { phone.state.desk.history.size == 1 }
        screen.shoot("two-sizes")
        screen.tap(square)
        screen.tap("Generate")
        screen.await("second picture") { phone.state.desk.history.size == 2 }
        val (second, first) = phone.state.desk.history
        assertEquals(listOf(64 to 96, 64 to 64), listOf(first, second).map { it.width to it.height })
        assertEquals(listOf(64 to 96, 64 to 64), listOf(1, 0).map { index -> picture(phone, index).let { it.width to it.height } })
    }

    @Test
    fun `an edit takes the size shaped like its picture, unless another is tapped`() {
        val phone = PhoneInHand()
        val screen = phone.screen
        val (square, high) = "64 pixels wide, 64 high" to "64 pixels wide, 96 high"
        screen.tap("Models")
        phone.importZip(sizedBundle(), "two-sizes")
        screen.await("import") { phone.state is StudioState.Ready }
        screen.tap("Studio")
        pick(phone, 30, 40)
        assertEquals(high to true, chosen(screen) to screen.has(SHAPED))
        screen.type("Say what to change", "make it yellow")
        screen.type("Seed", "5")
        screen.tap("Edit")
        screen.awaitWords("Before and after")
        assertTrue(screen.words().any { it.startsWith("Seed 5 · 64\u00A0×\u00A096 · ") }, "${screen.words()}")

        screen.tap(square)
        assertEquals(square to false, chosen(screen) to screen.has(SHAPED))
        phone.rotate()
        phone.dieAndComeBack()
        screen.await("start") { phone.state is StudioState.Ready }
        assertEquals(square, chosen(screen))
        screen.tap("Edit")
        screen.await("second edit") { phone.state.desk.history.size == 2 }
        assertEquals(listOf(64 to 64, 64 to 96), List(2) { index -> picture(phone, index).let { it.width to it.height } })
        screen.tap("History")
        val lines = screen.words().filter { it.startsWith("Seed 5") }.map { it.replace('\u00A0', ' ').split(" · ")[1] }
        assertEquals(listOf("64 × 64", "64 × 96"), lines)
        screen.tap("Studio")

        pick(phone, 30, 40)
        assertEquals(high, chosen(screen))
        screen.tap("Draw a new picture instead")
        assertEquals(square to false, chosen(screen) to screen.has(SHAPED))
    }

    private fun pick(phone: PhoneInHand, width: Int, height: Int) {
        val before = phone.state.desk.draft.source
        phone.activity.model.pick { Png.encode(Picture(width, height, ByteArray(3 * width * height) { it.toByte() })).inputStream() }
        phone.screen.await("photo") { phone.state.desk.draft.source != before }
    }

    /** The size whose chip is chosen, as TalkBack reads it. */
    private fun chosen(screen: Screen): String =
        screen.nodes().filter { it.config.getOrNull(SemanticsProperties.Selected) == true }.mapNotNull(::sizeOf).single()

    private fun sizeOf(node: SemanticsNode) =
        node.config.getOrNull(SemanticsProperties.ContentDescription).orEmpty().firstOrNull { "pixels wide" in it }

    @Test
    fun `a run goes on while the phone is turned`() {
        val phone = PhoneInHand().withBundle()
        val held = hold(phone, step = 1)
        phone.screen.type("Describe a picture", "a blue square")
        phone.screen.tap("Generate")
        phone.screen.await("step 1") { (phone.state as? StudioState.Running)?.run?.step == 1 }
        phone.rotate()
        phone.screen.awaitWords("Preview after step 1 of ${phone.state.desk.bundle!!.steps}")
        assertIs<StudioState.Running>(phone.state)
        phone.screen.shoot("running-landscape")
        held.countDown()
        phone.screen.awaitWords("Picture: a blue square")
        assertEquals(1, phone.state.desk.history.size)
        phone.rotate()
        phone.screen.awaitWords("Picture: a blue square")
    }

    @Test
    fun `a process that died in mid-run comes back with everything but the picture`() {
        val phone = PhoneInHand().withBundle()
        val held = hold(phone, step = 2)
        phone.screen.type("Describe a picture", "a yellow star")
        phone.screen.type("Seed", "99")
        phone.screen.tap("Generate")
        phone.screen.await("step 2") { (phone.state as? StudioState.Running)?.run?.step == 2 }
        phone.dieAndComeBack()
        held.countDown()
        phone.screen.await("start") { phone.state is StudioState.Ready }
        phone.screen.await("notice") { phone.state.desk.notice?.kind == Notice.Kind.INTERRUPTED }
        assertEquals("a yellow star" to "99", phone.screen.valueOf("Describe a picture") to phone.screen.valueOf("Seed"))
        phone.screen.tap("Generate")
        phone.screen.awaitWords("Picture: a yellow star")
        assertEquals(99UL, phone.state.desk.history.single().seed)
    }

    @Test
    fun `a stopped run leaves no picture and nothing loaded`() {
        val phone = PhoneInHand().withBundle()
        val held = hold(phone, step = 2)
        phone.screen.type("Describe a picture", "a blue square")
        phone.screen.tap("Generate")
        phone.screen.await("step 2") { (phone.state as? StudioState.Running)?.run?.step == 2 }
        phone.screen.tap("Stop")
        assertFalse(phone.screen.isEnabled("Stopping…"))
        held.countDown()
        phone.screen.awaitWords("Stopped")
        assertIs<StudioState.Ready>(phone.state)
        assertTrue(phone.state.desk.history.isEmpty())
        assertNothingOpen(phone)
        phone.screen.tap("Generate")
        phone.screen.awaitWords("Picture: a blue square")
    }

    @Test
    fun `a bundle that adb pushed is found and imported`() {
        val phone = PhoneInHand()
        val pushed = Files.createTempDirectory("pushed")
        Files.walk(exportedBundle()).use { paths -> paths.toList() }.forEach {
            val target = pushed.resolve("tiny64").resolve(exportedBundle().relativize(it).toString())
            if (Files.isDirectory(it)) Files.createDirectories(target) else Files.copy(it, target)
        }
        phone.parts.pushed = pushed
        phone.screen.tap("Models")
        phone.screen.awaitWords("xnnpack 64x64, tiny64")
        phone.screen.tap("Import")
        phone.screen.awaitWords("In use")
        assertEquals("tiny64", phone.state.desk.current)
    }

    /** Holds the U-Net before it makes step [step] + 1, until the latch is opened. */
    private fun hold(phone: PhoneInHand, step: Int): CountDownLatch {
        val latch = CountDownLatch(1)
        phone.parts.counting.before = { call -> if (call == CountingFactory.Call("unet", false, step)) latch.await() }
        return latch
    }

    private fun bytes(phone: PhoneInHand, index: Int): List<Byte> = picture(phone, index).rgb.toList()

    private fun picture(phone: PhoneInHand, index: Int) = Photos.read(phone.parts.history.picture(phone.state.desk.history[index].id))

    private fun assertNothingOpen(phone: PhoneInHand) {
        assertTrue(phone.parts.counting.opened.get() > 0)
        assertEquals(phone.parts.counting.opened.get(), phone.parts.counting.closed.get())
        assertEquals(0, Module.openModules())
    }

    private companion object {
        const val SHAPED = "Size: shaped most like the picture"
    }
}
