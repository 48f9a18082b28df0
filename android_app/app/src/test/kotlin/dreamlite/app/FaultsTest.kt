package dreamlite.app

import android.net.Uri
import android.os.PowerManager
import dreamlite.app.model.StudioState
import dreamlite.core.ComponentException
import dreamlite.core.DIGEST_NAME
import dreamlite.core.Fault
import dreamlite.core.MANIFEST_NAME
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import org.junit.After
import org.junit.Test
import org.junit.runner.RunWith
import org.pytorch.executorch.Module
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowPowerManager
import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.CountDownLatch
import kotlin.coroutines.CoroutineContext
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertIs
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** Whatever fails, the state is never stuck and what was loaded is freed: opens and closes are counted. */
@RunWith(RobolectricTestRunner::class)
@Config(application = TestApp::class)
class FaultsTest {
    @After
    fun putDown() = PhoneInHand.putDown()

    private fun drawing(phone: PhoneInHand) {
        phone.screen.type("Describe a picture", "a blue square")
        phone.screen.tap("Generate")
    }

    private fun assertDrawsAgain(phone: PhoneInHand) {
        phone.parts.counting.before = {}
        phone.screen.tap("Generate")
        phone.screen.awaitWords("Picture: a blue square")
    }

    private fun assertNothingOpen(phone: PhoneInHand) {
        assertTrue(phone.parts.counting.opened.get() > 0)
        assertEquals(phone.parts.counting.opened.get(), phone.parts.counting.closed.get())
        assertEquals(0, Module.openModules())
    }

    @Test
    fun `a component that fails in step 3`() {
        val phone = PhoneInHand().withBundle()
        phone.parts.counting.before = { call ->
            if (call == CountingFactory.Call("unet", false, 2)) {
                throw ComponentException(Fault.OUT_OF_MEMORY, "unet: no memory. Close other apps.")
            }
        }
        drawing(phone)
        phone.screen.awaitWords("Not enough memory")
        assertTrue(phone.screen.has("unet: no memory. Close other apps."))
        assertTrue(phone.state.desk.history.isEmpty())
        assertNothingOpen(phone)
        assertDrawsAgain(phone)
    }

    @Test
    fun `stopped while a component loads`() {
        val phone = PhoneInHand().withBundle()
        val held = CountDownLatch(1)
        phone.parts.counting.before = { call -> if (call == CountingFactory.Call("unet", true, 0)) held.await() }
        drawing(phone)
        phone.screen.awaitWords("Drawing")
        phone.screen.tap("Stop")
        held.countDown()
        phone.screen.awaitWords("Stopped")
        assertNothingOpen(phone)
        assertDrawsAgain(phone)
    }

    @Test
    fun `a disk that is full`() {
        val phone = PhoneInHand()
        phone.parts.storage = 1_000_000
        phone.screen.tap("Models")
        phone.importZip()
        phone.screen.awaitWords("This model cannot be used")
        assertTrue(phone.screen.words().any { "1 MB are free" in it }, phone.screen.words().toString())
        assertIs<StudioState.NoBundle>(phone.state)
        assertNothingImported(phone)

        phone.parts.storage = Long.MAX_VALUE
        phone.screen.tap("Dismiss")
        phone.importZip()
        phone.screen.awaitWords("In use")
    }

    @Test
    fun `a disk that fills up while a bundle is copied`() {
        val phone = PhoneInHand()
        phone.screen.tap("Models")
        fill(phone.parts.home.resolve("bundles/tiny.part"))
        phone.importZip()
        phone.screen.awaitWords("This model cannot be used")
        assertTrue(phone.screen.words().any { "No space left on device" in it }, phone.screen.words().toString())
        assertIs<StudioState.NoBundle>(phone.state)
        assertNothingImported(phone)
        phone.screen.tap("Dismiss")
        phone.importZip()
        phone.screen.awaitWords("In use")
    }

    /** What a dead process left, on a disk where the next file has no room: it is a link to the kernel's full device. */
    private fun fill(staging: Path) {
        Files.createDirectories(staging)
        for (name in listOf(MANIFEST_NAME, DIGEST_NAME)) Files.copy(exportedBundle().resolve(name), staging.resolve(name))
        Files.createSymbolicLink(staging.resolve(".unet.pte.part"), Path.of("/dev/full"))
    }

    @Test
    fun `a bundle replaced while it is loaded`() {
        val phone = PhoneInHand().withBundle()
        drawing(phone)
        phone.screen.awaitWords("Picture: a blue square")
        val before = phone.parts.counting.opened.get()
        replaceManifest(phone.parts.home.resolve("bundles/tiny"))
        phone.screen.tap("Generate")
        phone.screen.await("second picture") { phone.state.desk.history.size == 2 || phone.state.desk.notice != null }
        assertNull(phone.state.desk.notice)
        assertEquals(2 * before, phone.parts.counting.opened.get(), "the old session must be closed, the new one opened")
        assertEquals(before, phone.parts.counting.closed.get())
    }

    /** The same programs under another licence: another digest. */
    private fun replaceManifest(bundle: Path) {
        val text = Files.readString(bundle.resolve("manifest.json"))
        val changed = text.replaceFirst(Regex("\"licence\": *\"[^\"]*\""), "\"licence\": \"another\"")
        assertTrue(text != changed)
        sign(bundle, changed)
    }

    @Test
    fun `two quick taps draw one picture`() {
        val phone = PhoneInHand().withBundle()
        phone.screen.type("Describe a picture", "a blue square")
        phone.activity.model.run()
        phone.activity.model.run()
        phone.screen.await("picture") { phone.state is StudioState.Ready }
        assertEquals(1, phone.state.desk.history.size)
    }

    @Test
    fun `deleted twice by two quick taps`() {
        val phone = PhoneInHand().withBundle()
        drawing(phone)
        phone.screen.awaitWords("Picture: a blue square")
        val entry = phone.state.desk.history.single()
        repeat(2) { phone.activity.model.deleteEntry(entry) }
        repeat(2) { phone.activity.model.deleteBundle("tiny") }
        phone.screen.await("bundle gone") { phone.state is StudioState.NoBundle }
        assertNull(phone.state.desk.notice)
        assertTrue(phone.state.desk.history.isEmpty())
    }

    @Test
    fun `turned in every state`() {
        val turned = HashSet<Class<*>>()
        val parts = (RuntimeEnvironment.getApplication() as TestApp).parts as TestParts
        val reading = HeldDispatcher().also { parts.work = it }
        val phone = PhoneInHand(awaited = false)
        fun turn() {
            val before = phone.state.javaClass
            phone.rotate()
            assertEquals(before, phone.state.javaClass)
            turned += before
        }
        turn()
        reading.release()
        phone.screen.await("start") { phone.state is StudioState.NoBundle }
        turn()
        phone.screen.tap("Models")
        val slow = CountDownLatch(1)
        val bytes = PhoneInHand.zipped(exportedBundle())
        var reads = 0
        shadowOf(phone.activity.contentResolver).registerInputStreamSupplier(Uri.parse("content://documents/tiny.zip")) {
            if (++reads == 3) slow.await()
            bytes.inputStream()
        }
        phone.screen.tap("From a zip")
        phone.answer(Uri.parse("content://documents/tiny.zip"))
        phone.screen.awaitWords("Importing tiny")
        turn()
        slow.countDown()
        phone.screen.awaitWords("In use")
        turn()
        phone.screen.tap("Studio")
        val held = CountDownLatch(1)
        phone.parts.counting.before = { call -> if (call == CountingFactory.Call("unet", false, 1)) held.await() }
        drawing(phone)
        phone.screen.await("step 1") { (phone.state as? StudioState.Running)?.run?.step == 1 }
        turn()
        held.countDown()
        phone.screen.awaitWords("Picture: a blue square")
        assertEquals(StudioState::class.java.declaredClasses.filter { StudioState::class.java.isAssignableFrom(it) }.toSet(), turned)
    }

    /** Lets nothing run until it is released. */
    private class HeldDispatcher : CoroutineDispatcher() {
        private val waiting = ArrayList<Pair<CoroutineContext, Runnable>>()
        private var released = false

        @Synchronized
        override fun dispatch(context: CoroutineContext, block: Runnable) {
            if (released) Dispatchers.Default.dispatch(context, block) else waiting += context to block
        }

        @Synchronized
        fun release() {
            released = true
            waiting.forEach { (context, block) -> Dispatchers.Default.dispatch(context, block) }
        }
    }

    @Test
    fun `an import that the process's death cut off goes on by itself`() {
        val phone = PhoneInHand()
        phone.screen.tap("Models")
        val bytes = PhoneInHand.zipped(exportedBundle())
        val uri = Uri.parse("content://documents/tiny.zip")
        shadowOf(phone.activity.contentResolver).registerInputStreamSupplier(uri) { bytes.inputStream() }
        // What a dead process leaves: the note of what it did.
        Files.writeString(phone.parts.home.resolve("import.properties"), "kind=ZIP\nplace=$uri\nname=tiny\n")
        val given = Files.createDirectories(phone.parts.home.resolve("bundles/given-up.part"))
        phone.dieAndComeBack()
        phone.screen.await("import") { phone.state is StudioState.Ready }
        assertEquals("tiny", phone.state.desk.current)
        assertFalse(Files.exists(phone.parts.home.resolve("import.properties")) || Files.exists(given))
    }

    @Test
    fun `a run waits while the phone is critically hot`() {
        val phone = PhoneInHand().withBundle()
        val power: ShadowPowerManager = shadowOf(phone.activity.getSystemService(PowerManager::class.java))
        power.setCurrentThermalStatus(4)
        drawing(phone)
        phone.screen.awaitWords("Paused: the phone is too hot. It goes on when it has cooled down.")
        assertEquals(0, phone.parts.counting.opened.get())
        power.setCurrentThermalStatus(2)
        phone.screen.awaitWords("Picture: a blue square")
    }

    @Test
    fun `a picture that cannot be kept is a message`() {
        val phone = PhoneInHand().withBundle()
        Files.write(phone.parts.home.resolve("history"), ByteArray(1))
        drawing(phone)
        phone.screen.awaitWords("Something went wrong")
        assertIs<StudioState.Ready>(phone.state)
        Files.delete(phone.parts.home.resolve("history"))
        assertDrawsAgain(phone)
    }

    @Test
    fun `a file that is no picture`() {
        val phone = PhoneInHand().withBundle()
        phone.activity.model.pick { "no picture".byteInputStream() }
        phone.screen.awaitWords("This picture cannot be used")
        phone.activity.model.pick { throw IOException("gone") }
        phone.screen.awaitWords("gone")
        assertNull(phone.state.desk.draft.source)
    }
}
