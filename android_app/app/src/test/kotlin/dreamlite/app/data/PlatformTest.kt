package dreamlite.app.data

import android.app.NotificationManager
import android.content.ContentProvider
import android.content.ContentValues
import android.content.Intent
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import android.provider.MediaStore
import dreamlite.app.RunService
import dreamlite.app.ServiceNotifier
import dreamlite.app.TestApp
import dreamlite.app.exportedBundle
import dreamlite.app.model.HistoryEntry
import dreamlite.app.model.RunView
import dreamlite.app.turnedPhoto
import dreamlite.core.BundleStore
import dreamlite.core.ImageException
import dreamlite.core.Mode
import dreamlite.core.PictureSize
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.Robolectric
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import java.awt.image.BufferedImage
import java.io.ByteArrayOutputStream
import java.io.File
import java.nio.file.Files
import javax.imageio.ImageIO
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotNull
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** The app's side of Android: documents, photos, the gallery, the notification. */
@RunWith(RobolectricTestRunner::class)
@Config(application = TestApp::class)
class PlatformTest {
    private val application = RuntimeEnvironment.getApplication()
    private val resolver = application.contentResolver

    @Test
    fun `a photo is turned as its EXIF says`() {
        val picture = Photos.read({ turnedPhoto().inputStream() })
        assertEquals(32 to 64, picture.width to picture.height)
        fun at(x: Int, y: Int) = List(3) { picture.rgb[3 * (y * 32 + x) + it].toInt() and 255 }
        assertTrue(at(16, 8).let { it[0] > 200 && it[2] < 60 }, "top: ${at(16, 8)}")
        assertTrue(at(16, 56).let { it[2] > 200 && it[0] < 60 }, "bottom: ${at(16, 56)}")
        assertFailsWith<ImageException> { Photos.read({ "no picture".byteInputStream() }) }
    }

    @Test
    fun `transparency is dropped, not blended, as the exporter does`() {
        val image = BufferedImage(16, 16, BufferedImage.TYPE_INT_ARGB)
        for (x in 0 until 16) for (y in 0 until 16) image.setRGB(x, y, (17 * x shl 24) or 0xC86432)
        val png = ByteArrayOutputStream().also { ImageIO.write(image, "png", it) }.toByteArray()
        val picture = Photos.read({ png.inputStream() })
        val colours = picture.rgb.asList().chunked(3).map { pixel -> pixel.map { it.toInt() and 255 } }.toSet()
        assertEquals(setOf(listOf(0xC8, 0x64, 0x32)), colours)
    }

    @Test
    fun `a folder that the picker gave is imported`() {
        Robolectric.setupContentProvider(Documents::class.java, "documents.test")
        val tree = DocumentsContract.buildTreeDocumentUri("documents.test", ROOT)
        val store = BundleStore(application.filesDir.toPath().resolve("bundles")) { Long.MAX_VALUE }
        store.import(TreeSource(resolver, tree), "tiny")
        assertEquals(listOf("tiny"), store.names())
    }

    @Test
    fun `a picture goes to the gallery and is shown there only when it is whole`() {
        val media = Robolectric.setupContentProvider(Media::class.java, MediaStore.AUTHORITY)
        val png = Files.write(Files.createTempFile("picture", ".png"), byteArrayOf(1, 2, 3))
        val entry = HistoryEntry("1-7", Mode.GENERATE, "a circle", 7UL, 4, 64, 64, "tiny", "fp32", 5, emptyMap(), 1.0)
        MediaGallery(resolver).save(png, entry)
        assertEquals(listOf(1, 0), media.pending)
        assertEquals(listOf<Byte>(1, 2, 3), media.file.readBytes().toList())
        assertEquals("dreamlite-1-7.png", media.inserted!!.getAsString(MediaStore.Images.Media.DISPLAY_NAME))
        assertTrue("Seed: 7" in media.inserted!!.getAsString(MediaStore.Images.Media.DESCRIPTION))
    }

    @Test
    fun `the notification tells the step and stops the run`() {
        var stopped = 0
        RunService.stop = { stopped++ }
        val step = Intent(application, RunService::class.java).putExtra(RunService.STEP, 2).putExtra(RunService.STEPS, 4)
        val service = Robolectric.buildService(RunService::class.java, step).create().startCommand(0, 1)
        val shown = assertNotNull(shadowOf(service.get()).lastForegroundNotification)
        assertEquals("Step 2 of 4", shadowOf(shown).contentText)
        assertEquals("Stop", shown.actions.single().title)
        assertEquals(1, application.service<NotificationManager>().notificationChannels.size)
        service.get().onStartCommand(Intent(RunService.STOP), 0, 2)
        assertEquals(1, stopped)
        service.get().onStartCommand(Intent(RunService.HIDE), 0, 3)
        assertTrue(shadowOf(service.get()).isStoppedBySelf)
        RunService.stop = null
    }

    @Test
    fun `a run is told to the service, and its end`() {
        var stopped = 0
        val notifier = ServiceNotifier(application)
        notifier.show(RunView(Mode.GENERATE, 7UL, steps = 4, size = PictureSize(64, 64), step = 2)) { stopped++ }
        val shown = shadowOf(application).nextStartedService
        assertEquals(RunService::class.java.name, shown.component?.className)
        assertEquals(2 to 4, shown.getIntExtra(RunService.STEP, 0) to shown.getIntExtra(RunService.STEPS, 0))
        val service = Robolectric.buildService(RunService::class.java, shown).create().startCommand(0, 1).get()
        service.onTimeout(1, 0)
        assertEquals(1, stopped)
        assertTrue(shadowOf(service).isStoppedBySelf)
        notifier.hide()
        assertEquals(RunService.HIDE, shadowOf(application).nextStartedService.action)
        assertNull(RunService.stop)
    }

    /** A documents provider over the exported bundle: a document's id is its path there. */
    class Documents : Provider() {
        private fun file(uri: Uri): File {
            val id = DocumentsContract.getDocumentId(uri)
            return exportedBundle().resolve(if (id == ROOT) "" else id).toFile()
        }

        override fun query(uri: Uri, columns: Array<out String>?, where: String?, values: Array<out String>?, order: String?): Cursor {
            val cursor = MatrixCursor(arrayOf(Document.COLUMN_DOCUMENT_ID, Document.COLUMN_DISPLAY_NAME, Document.COLUMN_MIME_TYPE))
            for (child in file(uri).listFiles().orEmpty()) {
                val type = if (child.isDirectory) Document.MIME_TYPE_DIR else "application/octet-stream"
                cursor.addRow(arrayOf(child.relativeTo(exportedBundle().toFile()).path, child.name, type))
            }
            return cursor
        }

        override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor =
            ParcelFileDescriptor.open(file(uri), ParcelFileDescriptor.MODE_READ_ONLY)
    }

    /** Takes one picture. */
    class Media : Provider() {
        val file: File = File.createTempFile("media", ".png")
        val pending = ArrayList<Int>()
        var inserted: ContentValues? = null

        override fun insert(uri: Uri, values: ContentValues?): Uri {
            inserted = values
            pending += values!!.getAsInteger(MediaStore.Images.Media.IS_PENDING)
            return Uri.withAppendedPath(uri, "1")
        }

        override fun update(uri: Uri, values: ContentValues?, where: String?, arguments: Array<out String>?): Int {
            pending += values!!.getAsInteger(MediaStore.Images.Media.IS_PENDING)
            return 1
        }

        override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor =
            ParcelFileDescriptor.open(file, ParcelFileDescriptor.parseMode(mode))
    }

    open class Provider : ContentProvider() {
        override fun onCreate() = true

        override fun query(uri: Uri, columns: Array<out String>?, where: String?, values: Array<out String>?, order: String?): Cursor? =
            null

        override fun getType(uri: Uri): String? = null

        override fun insert(uri: Uri, values: ContentValues?): Uri? = null

        override fun delete(uri: Uri, where: String?, arguments: Array<out String>?) = 0

        override fun update(uri: Uri, values: ContentValues?, where: String?, arguments: Array<out String>?) = 0
    }

    private companion object {
        const val ROOT = "root"
    }
}
