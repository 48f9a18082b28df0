package dreamlite.app

import android.app.ActivityManager
import android.graphics.Bitmap
import androidx.compose.ui.semantics.SemanticsActions
import dreamlite.app.model.Event
import dreamlite.app.model.Notice
import dreamlite.app.model.Page
import dreamlite.app.model.Room
import dreamlite.app.model.RunView
import dreamlite.app.model.StudioState
import dreamlite.core.Mode
import dreamlite.core.PictureSize
import org.junit.After
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowStatFs
import kotlin.test.assertTrue

/** Every screen as it looks, from pictures that were really drawn: light and dark, small and large, written as PNGs. */
@RunWith(RobolectricTestRunner::class)
@Config(application = TestApp::class)
class ScreenshotsTest {
    @After
    fun putDown() = PhoneInHand.putDown()

    @Test
    fun `every screen in every dress`() {
        val phone = PhoneInHand()
        assertDrawn(phone.screen.shoot("empty-light"))
        phone.withBundle()
        draw(phone, "a green triangle", "7")
        draw(phone, "a red circle left of a blue square", "42")
        phone.screen.tap("Edit this picture")
        phone.screen.type("Say what to change", "make the circle yellow")
        phone.screen.tap("Edit")
        phone.screen.await("edit") { phone.state is StudioState.Ready && phone.state.desk.history.size == 3 }
        val previews = phone.parts.noticed.mapNotNull { it }.filter { it.preview != null && it.step == 2 }
        tellRoom(phone)
        dresses.forEach { (name, dress) -> shootAll(phone, name, dress, previews) }
    }

    private val dresses = listOf(
        "light" to Dress("w360dp-h740dp-port-notnight", 1f),
        "dark" to Dress("w360dp-h740dp-port-night", 1f),
        "large" to Dress("w360dp-h740dp-port-notnight", 2f),
        "small" to Dress("w320dp-h480dp-port-notnight", 1f),
        "wide" to Dress("w740dp-h360dp-land-night", 1f),
    )

    private class Dress(val qualifiers: String, val fontScale: Float)

    private fun draw(phone: PhoneInHand, prompt: String, seed: String) {
        val before = phone.state.desk.history.size
        phone.screen.type("Describe a picture", prompt)
        phone.screen.type("Seed", seed)
        phone.screen.tap("Generate")
        phone.screen.await("picture") { phone.state.desk.history.size > before }
    }

    private fun shootAll(phone: PhoneInHand, name: String, dress: Dress, previews: List<RunView>) {
        RuntimeEnvironment.setQualifiers("+${dress.qualifiers}")
        RuntimeEnvironment.setFontScale(dress.fontScale)
        phone.controller.configurationChange()
        phone.controller.visible()
        for (page in Page.entries) {
            phone.activity.model.tell(Event.PagePicked(page))
            if (page == Page.STUDIO) slide(phone)
            assertDrawn(phone.screen.shoot("${page.name.lowercase()}-$name"))
        }
        val model = phone.activity.model
        model.tell(Event.RunBegun(Mode.EDIT, 42UL, 4, PictureSize(64, 64)))
        model.tell(Event.RunTold { previews.last() })
        assertDrawn(phone.screen.shoot("running-$name"))
        model.tell(Event.RunEnded(null))
        model.tell(Event.PagePicked(Page.MODELS))
        model.tell(Event.ImportBegun("dreamlite-512"))
        val room = Room(1_210_000_000, 48_300_000_000, 2_400_000_000, 15_600_000_000)
        model.tell(Event.ImportTold { it.copy(done = 301_000_000, room = room) })
        assertDrawn(phone.screen.shoot("importing-$name"))
        model.tell(Event.ImportEnded(phone.state.desk.bundles, null, Notice(Notice.Kind.WRONG_SOC, WRONG_SOC)))
        assertDrawn(phone.screen.shoot("refused-$name"))
        model.tell(Event.Told(null))
    }

    /** To where the circle is, so that its change is seen. */
    private fun slide(phone: PhoneInHand) {
        phone.screen.awaitWords("Before and after")
        val slider = phone.screen.nodes().single { SemanticsActions.SetProgress in it.config }
        slider.config[SemanticsActions.SetProgress].action!!(0.26f)
    }

    private fun tellRoom(phone: PhoneInHand) {
        ShadowStatFs.registerStats(phone.activity.filesDir, BLOCKS, FREE_BLOCKS, FREE_BLOCKS)
        val memory = ActivityManager.MemoryInfo().apply {
            totalMem = 15_600_000_000
            availMem = 6_200_000_000
        }
        shadowOf(phone.activity.getSystemService(ActivityManager::class.java)).setMemoryInfo(memory)
    }

    /** More than one colour: something is there. */
    private fun assertDrawn(bitmap: Bitmap) {
        val colours = (0 until bitmap.height step 7).flatMap { y -> (0 until bitmap.width step 7).map { bitmap.getPixel(it, y) } }.toSet()
        assertTrue(colours.size > 8, "${colours.size} colours")
    }

    private companion object {
        /** Of 4 KiB. */
        const val BLOCKS = 100_000_000
        const val FREE_BLOCKS = 11_792_000
        const val WRONG_SOC = "this bundle: compiled for SM8750, this phone has SM8650. Get the bundle for SM8650, or one for xnnpack."
    }
}
