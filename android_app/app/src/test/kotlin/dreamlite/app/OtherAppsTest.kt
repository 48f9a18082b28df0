package dreamlite.app

import android.app.Activity
import android.content.Intent
import android.graphics.Color
import android.net.Uri
import android.provider.MediaStore
import androidx.core.content.FileProvider
import androidx.core.content.IntentCompat
import dreamlite.app.data.Photos
import dreamlite.app.model.HistoryEntry
import dreamlite.app.model.Page
import dreamlite.app.model.StudioState
import dreamlite.core.Mode
import dreamlite.core.Picture
import org.junit.After
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import java.io.File
import java.nio.file.Files
import java.nio.file.Path
import kotlin.test.assertEquals
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** What the app asks of other apps, by its buttons: a photo, the camera, somebody to share with; and another bundle. */
@RunWith(RobolectricTestRunner::class)
@Config(application = TestApp::class)
class OtherAppsTest {
    @After
    fun putDown() = PhoneInHand.putDown()

    /** The source of the next run lies upright: 32x64, red above blue. */
    private fun assertTurned(phone: PhoneInHand) {
        phone.screen.awaitWords("Picture to change")
        val picture = Photos.read(Path.of(phone.state.desk.draft.source!!.file))
        assertEquals(32 to 64, picture.width to picture.height)
        assertEquals(listOf(Color.RED, Color.BLUE), listOf(8, 56).map { y -> nearest(picture, 16, y) })
    }

    private fun nearest(picture: Picture, x: Int, y: Int): Int {
        val (red, _, blue) = List(3) { picture.rgb[3 * (y * picture.width + x) + it].toInt() and 255 }
        return if (red > blue) Color.RED else Color.BLUE
    }

    private fun edited(phone: PhoneInHand): HistoryEntry {
        phone.screen.type("Say what to change", "make it yellow")
        phone.screen.tap("Edit")
        phone.screen.awaitWords("Before and after")
        return phone.state.desk.history.first().also { assertEquals(Mode.EDIT, it.mode) }
    }

    @Test
    fun `a photo that was picked is turned upright and edited`() {
        val phone = PhoneInHand().withBundle()
        val uri = Uri.parse("content://media/picker/1")
        shadowOf(phone.activity.contentResolver).registerInputStreamSupplier(uri) { turnedPhoto().inputStream() }
        phone.screen.tap("Photo")
        assertEquals("image/*", phone.answer(uri).type)
        assertTurned(phone)
        edited(phone)
        phone.screen.tap("Draw a new picture instead")
        assertNull(phone.state.desk.draft.source)
    }

    @Test
    fun `a photo that was taken is edited, and the result shared`() {
        val phone = PhoneInHand().withBundle()
        phone.screen.tap("Camera")
        val target = File(phone.activity.cacheDir, "camera/photo.jpg")
        target.writeBytes(turnedPhoto())
        val asked = phone.answer(null)
        assertEquals(MediaStore.ACTION_IMAGE_CAPTURE, asked.action)
        assertEquals(address(target), IntentCompat.getParcelableExtra(asked, MediaStore.EXTRA_OUTPUT, Uri::class.java))
        assertTurned(phone)
        val entry = edited(phone)
        phone.screen.tap("Share")
        assertShared(phone, entry)
        phone.screen.tap("History")
        assertEquals(Page.HISTORY, phone.state.desk.page)
        phone.screen.tap("Share picture: make it yellow")
        assertShared(phone, entry)
    }

    private fun address(file: File): Uri {
        val application = RuntimeEnvironment.getApplication()
        return FileProvider.getUriForFile(application, "${application.packageName}.files", file)
    }

    private fun assertShared(phone: PhoneInHand, entry: HistoryEntry) {
        val chooser = shadowOf(phone.activity).nextStartedActivity
        val sent = IntentCompat.getParcelableExtra(chooser, Intent.EXTRA_INTENT, Intent::class.java)!!
        val picture = phone.parts.history.picture(entry.id)
        assertTrue(Files.size(picture) > 0)
        assertEquals(Intent.ACTION_SEND to "image/png", sent.action to sent.type)
        assertEquals(entry.prompt, sent.getStringExtra(Intent.EXTRA_TEXT))
        assertEquals(address(picture.toFile()), IntentCompat.getParcelableExtra(sent, Intent.EXTRA_STREAM, Uri::class.java))
        assertTrue(sent.flags and Intent.FLAG_GRANT_READ_URI_PERMISSION != 0)
    }

    @Test
    fun `who picks and takes nothing goes on as before`() {
        val phone = PhoneInHand().withBundle()
        for (button in listOf("Photo", "Camera")) {
            phone.screen.tap(button)
            val asked = shadowOf(phone.activity).nextStartedActivityForResult.intent
            shadowOf(phone.activity).receiveResult(asked, Activity.RESULT_CANCELED, null)
            phone.screen.idle()
            assertNull(phone.state.desk.draft.source)
            assertNull(phone.state.desk.notice)
        }
    }

    @Test
    fun `a phone without a camera says so`() {
        val phone = PhoneInHand().withBundle()
        shadowOf(RuntimeEnvironment.getApplication()).checkActivities(true)
        phone.screen.tap("Camera")
        phone.screen.awaitWords("Something went wrong")
    }

    @Test
    fun `another bundle is taken into use, and the one before is freed`() {
        val phone = PhoneInHand().withBundle()
        drawn(phone, "tiny")
        val opened = phone.parts.counting.opened.get()
        phone.screen.tap("Models")
        phone.importZip(name = "second")
        phone.screen.await("import") { phone.state is StudioState.Ready && phone.state.desk.current == "second" }
        drawn(phone, "second")
        assertEquals(opened, phone.parts.counting.closed.get())
        phone.screen.tap("Models")
        phone.screen.tap("Use")
        drawn(phone, "tiny")
        assertEquals(2 * opened, phone.parts.counting.closed.get())
        phone.screen.tap("Models")
        phone.screen.tap("Delete second")
        phone.screen.tap("Delete for good")
        phone.screen.await("deleted") { phone.state.desk.bundles.map { it.name } == listOf("tiny") }
        assertEquals("tiny", phone.state.desk.current)
    }

    private fun drawn(phone: PhoneInHand, bundle: String) {
        assertEquals(bundle, phone.state.desk.current)
        val before = phone.state.desk.history.size
        phone.screen.tap("Studio")
        phone.screen.type("Describe a picture", "a blue square")
        phone.screen.tap("Generate")
        phone.screen.await("picture") { phone.state.desk.history.size > before }
        assertEquals(bundle, phone.state.desk.history.first().bundle)
    }
}
