package dreamlite.app

import android.Manifest
import android.content.ActivityNotFoundException
import android.content.Intent
import android.content.pm.PackageManager
import android.net.Uri
import android.os.Build
import android.os.Bundle
import androidx.activity.ComponentActivity
import androidx.activity.compose.setContent
import androidx.activity.enableEdgeToEdge
import androidx.activity.result.PickVisualMediaRequest
import androidx.activity.result.contract.ActivityResultContracts.OpenDocument
import androidx.activity.result.contract.ActivityResultContracts.OpenDocumentTree
import androidx.activity.result.contract.ActivityResultContracts.PickVisualMedia
import androidx.activity.result.contract.ActivityResultContracts.RequestPermission
import androidx.activity.result.contract.ActivityResultContracts.TakePicture
import androidx.activity.viewModels
import androidx.core.content.FileProvider
import androidx.lifecycle.compose.collectAsStateWithLifecycle
import dreamlite.app.data.ImportFrom
import dreamlite.app.model.Event
import dreamlite.app.model.HistoryEntry
import dreamlite.app.model.Notice
import dreamlite.app.ui.Actions
import dreamlite.app.ui.PictureFiles
import dreamlite.app.ui.StudioApp
import dreamlite.core.Mode
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.nio.file.Path

class MainActivity : ComponentActivity() {
    internal val model: StudioViewModel by viewModels()
    private val parts get() = (application as DreamLiteApp).parts
    private val photo = registerForActivityResult(PickVisualMedia()) { uri -> if (uri != null) model.pick { open(uri) } }
    private val camera = registerForActivityResult(TakePicture()) { whole -> if (whole) model.pick { taken().inputStream() } }
    private val folder = registerForActivityResult(OpenDocumentTree()) { uri -> if (uri != null) import(uri, true) }
    private val zip = registerForActivityResult(OpenDocument()) { uri -> if (uri != null) import(uri, false) }
    private val permission = registerForActivityResult(RequestPermission()) { }

    override fun onCreate(savedInstanceState: Bundle?) {
        enableEdgeToEdge()
        super.onCreate(savedInstanceState)
        setContent {
            val state = model.state.collectAsStateWithLifecycle()
            StudioApp(state.value, files, actions)
        }
    }

    private fun taken() = File(cacheDir, "camera/photo.jpg")

    private fun open(uri: Uri): InputStream = contentResolver.openInputStream(uri) ?: throw IOException("$uri cannot be opened")

    private fun address(file: File): Uri = FileProvider.getUriForFile(this, "$packageName.files", file)

    /** The permission is kept, for an import that must go on after the process died. */
    private fun import(uri: Uri, isTree: Boolean) {
        try {
            contentResolver.takePersistableUriPermission(uri, Intent.FLAG_GRANT_READ_URI_PERMISSION)
        } catch (_: SecurityException) {
            // Not every picker gives more than now; now is enough unless the process dies.
        }
        model.importPicked(uri, isTree)
    }

    private fun askForNotifications() {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.TIRAMISU) return
        val wanted = Manifest.permission.POST_NOTIFICATIONS
        if (checkSelfPermission(wanted) != PackageManager.PERMISSION_GRANTED) permission.launch(wanted)
    }

    /** A phone may lack a picker, a camera or anything to share with. */
    private fun trying(launch: () -> Unit) = try {
        launch()
    } catch (error: ActivityNotFoundException) {
        model.tell(Event.Told(Notice(Notice.Kind.FAILED, error.message.orEmpty())))
    }

    private val files = object : PictureFiles {
        override fun picture(entry: HistoryEntry): Path = parts.history.picture(entry.id)

        override fun thumb(entry: HistoryEntry): Path = parts.history.thumb(entry.id)

        override fun source(entry: HistoryEntry): Path? = parts.history.source(entry.id).takeIf { entry.mode == Mode.EDIT }
    }

    private val actions = object : Actions {
        override fun tell(event: Event) = model.tell(event)

        override fun roll() = model.roll()

        override fun run() {
            askForNotifications()
            model.run()
        }

        override fun stop() = model.stop()

        override fun pickPhoto() = trying { photo.launch(PickVisualMediaRequest(PickVisualMedia.ImageOnly)) }

        override fun takePhoto() = trying {
            taken().parentFile?.mkdirs()
            camera.launch(address(taken()))
        }

        override fun editAgain(entry: HistoryEntry) = model.editAgain(entry)

        override fun save(entry: HistoryEntry) = model.save(entry)

        override fun share(entry: HistoryEntry) = trying {
            val picture = address(parts.history.picture(entry.id).toFile())
            val send = Intent(Intent.ACTION_SEND).setType("image/png").putExtra(Intent.EXTRA_STREAM, picture)
                .putExtra(Intent.EXTRA_TEXT, entry.prompt).addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION)
            startActivity(Intent.createChooser(send, getString(R.string.share)))
        }

        override fun delete(entry: HistoryEntry) = model.deleteEntry(entry)

        override fun importFolder() = trying { folder.launch(null) }

        override fun importZip() = trying { zip.launch(arrayOf("application/zip", "application/octet-stream")) }

        override fun importPushed(path: String) = model.import(ImportFrom.Kind.PUSHED, path, path)

        override fun deleteBundle(name: String) = model.deleteBundle(name)

        override fun refresh() = model.refresh()
    }
}
