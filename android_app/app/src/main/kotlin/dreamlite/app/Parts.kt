package dreamlite.app

import android.app.Application
import dreamlite.app.data.ColourStore
import dreamlite.app.data.Drawing
import dreamlite.app.data.Easel
import dreamlite.app.data.Gallery
import dreamlite.app.data.HistoryStore
import dreamlite.app.data.Imports
import dreamlite.app.data.MediaGallery
import dreamlite.app.data.PainterFactory
import dreamlite.app.data.Phone
import dreamlite.app.data.Photos
import dreamlite.app.data.PickedSources
import dreamlite.app.data.PipelinePainters
import dreamlite.app.model.Trim
import dreamlite.core.BundleStore
import dreamlite.core.ComponentFactory
import dreamlite.executorch.ExecuTorchFactory
import dreamlite.executorch.Runtime
import dreamlite.executorch.checkRuntime
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import java.nio.file.Path
import kotlin.io.path.Path

/** What the app is made of, one of each in the process. Tests put in others. */
open class Parts(private val application: Application) {
    val home: Path = application.filesDir.toPath()
    val phone = Phone(application)
    val sources = PickedSources(application.contentResolver)
    val history = HistoryStore(home.resolve("history"))
    val easel by lazy { Easel(painters()) }
    val notices by lazy { notifier() }
    val runtime = Runtime(
        executorch = application.getString(R.string.executorch_version),
        soc = phone.soc,
        qnn = application.getString(R.string.qnn_version).ifEmpty { null },
    )
    val imports by lazy {
        Imports(
            BundleStore(home.resolve("bundles"), ::freeStorage),
            home.resolve("import.properties"),
            ::freeStorage,
            ::totalMemory,
            { checkRuntime(it, runtime) },
            sources::open,
        )
    }
    val drawing by lazy {
        Drawing(
            easel,
            imports,
            history,
            ColourStore(home.resolve("colours")),
            phone.heat,
            ::freeMemory,
            Photos::read,
            System::currentTimeMillis,
            work,
        )
    }

    open val work: CoroutineDispatcher get() = Dispatchers.Default
    open val pushed: Path get() = Path(Imports.PUSHED)
    open val gallery: Gallery by lazy { MediaGallery(application.contentResolver) }

    open fun components(threads: Int? = null): ComponentFactory = ExecuTorchFactory(runtime, threads ?: 0)

    open fun painters(): PainterFactory = PipelinePainters(components())

    open fun notifier(): RunNotifier = ServiceNotifier(application)

    open fun freeStorage(): Long = phone.freeStorage()

    open fun totalMemory(): Long = phone.totalMemory()

    open fun freeMemory(): Long = phone.freeMemory()

    fun trim(level: Int) {
        if (Trim.frees(level)) easel.trim()
    }
}
