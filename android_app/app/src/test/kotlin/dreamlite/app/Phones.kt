package dreamlite.app

import android.app.Activity
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import androidx.core.content.FileProvider
import dreamlite.app.model.StudioState
import org.robolectric.Robolectric
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.android.controller.ActivityController
import org.robolectric.shadows.ShadowChoreographer
import java.io.ByteArrayOutputStream
import java.nio.file.Files
import java.nio.file.Path
import java.time.Duration
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

/** The app on a phone: started, rotated, killed and started again. */
class PhoneInHand(awaited: Boolean = true) {
    var controller: ActivityController<MainActivity> = started()
        private set
    val activity: MainActivity get() = controller.get()
    val parts: TestParts get() = (RuntimeEnvironment.getApplication() as TestApp).parts as TestParts
    val state: StudioState get() = activity.model.state.value
    val screen = Screen { activity }

    init {
        held = this
        if (awaited) screen.await("start") { state !is StudioState.Starting }
    }

    fun rotate() {
        val turned = if (RuntimeEnvironment.getQualifiers().contains("-land")) "+port" else "+land"
        RuntimeEnvironment.setQualifiers(turned)
        controller.configurationChange()
        controller.visible()
        screen.idle()
    }

    /** The process dies: nothing is told, all that remains is what was saved. */
    fun dieAndComeBack() {
        val kept = Bundle()
        controller.pause().stop().saveInstanceState(kept)
        controller.destroy()
        controller = Robolectric.buildActivity(MainActivity::class.java).create(kept).start().restoreInstanceState(kept).resume().visible()
        screen.idle()
    }

    /** Answers what the app asked of another app; gives what was asked. */
    fun answer(uri: Uri?): Intent {
        val asked = shadowOf(activity).nextStartedActivityForResult.intent
        shadowOf(activity).receiveResult(asked, Activity.RESULT_OK, Intent().setData(uri))
        screen.idle()
        return asked
    }

    fun importZip(bundle: Path = exportedBundle(), name: String = "tiny") {
        val uri = Uri.parse("content://documents/$name.zip")
        val bytes = zipped(bundle)
        shadowOf(activity.contentResolver).registerInputStreamSupplier(uri) { bytes.inputStream() }
        screen.tap("From a zip")
        answer(uri)
    }

    /** A phone with the tiny bundle on it, at the studio. */
    fun withBundle(): PhoneInHand {
        screen.tap("Models")
        importZip()
        screen.await("import") { state is StudioState.Ready }
        screen.tap("Studio")
        return this
    }

    companion object {
        private var held: PhoneInHand? = null

        /** Frames come when the clock goes on: else one endless animation, such as a progress bar, never lets a test idle. */
        private fun started(): ActivityController<MainActivity> {
            ShadowChoreographer.setPaused(true)
            ShadowChoreographer.setFrameDelay(Duration.ofMillis(16))
            return Robolectric.buildActivity(MainActivity::class.java).setup()
        }

        /**
         * Ends the app at the end of every test, however it went: Compose's dispatcher outlives a test, and a frame that it
         * still waits for when Robolectric makes a new looper never comes.
         */
        fun putDown() {
            val phone = held ?: return
            held = null
            phone.parts.counting.before = {}
            phone.controller.pause().stop().destroy()
            repeat(5) { phone.screen.idle() }
            phone.parts.easel.drop()
            forgetFolders()
        }

        /** FileProvider remembers for the whole process where the first test's files lay. */
        private fun forgetFolders() {
            val known = FileProvider::class.java.getDeclaredField("sCache").apply { isAccessible = true }
            (known.get(null) as MutableMap<*, *>).clear()
        }

        fun zipped(folder: Path): ByteArray {
            val bytes = ByteArrayOutputStream()
            ZipOutputStream(bytes).use { zip ->
                zip.setLevel(1)
                for (file in Files.walk(folder).use { paths -> paths.filter(Files::isRegularFile).toList() }.sorted()) {
                    zip.putNextEntry(ZipEntry("tiny/" + folder.relativize(file).joinToString("/")))
                    Files.copy(file, zip)
                }
            }
            return bytes.toByteArray()
        }
    }
}
