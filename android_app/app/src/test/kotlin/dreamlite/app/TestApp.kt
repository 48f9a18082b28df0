package dreamlite.app

import android.app.Application
import dreamlite.app.data.Gallery
import dreamlite.app.model.HistoryEntry
import dreamlite.app.model.RunView
import dreamlite.core.Bundle
import dreamlite.core.Component
import dreamlite.core.ComponentFactory
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import java.nio.FloatBuffer
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.atomic.AtomicInteger

/** The app as it is, but for what a test steers: components are counted and may be held or fail, numbers may be small. */
class TestApp : DreamLiteApp() {
    override fun makeParts() = TestParts(this)
}

class TestParts(application: Application) : Parts(application) {
    val counting = CountingFactory(super.components(1))
    val saved = CopyOnWriteArrayList<Pair<Path, HistoryEntry>>()
    val noticed = CopyOnWriteArrayList<RunView?>()
    override var work: CoroutineDispatcher = Dispatchers.Default
    var storage = Long.MAX_VALUE
    var memory = Long.MAX_VALUE
    override var pushed: Path = Path.of("/nowhere")

    override fun components(threads: Int?): ComponentFactory = counting

    override val gallery = Gallery { png, entry -> saved += png to entry }

    override fun freeStorage() = storage

    override fun totalMemory() = memory

    override fun freeMemory() = memory

    override fun notifier() = object : RunNotifier {
        override fun show(run: RunView, stop: () -> Unit) {
            noticed += run
        }

        override fun hide() {
            noticed += null
        }
    }
}

/** Counts what is opened and closed; [before] is called ahead of every load and run, on the thread that draws. */
class CountingFactory(private val real: ComponentFactory) : ComponentFactory {
    val opened = AtomicInteger()
    val closed = AtomicInteger()

    @Volatile
    var before: (Call) -> Unit = {}

    /** [count]: how many calls of this kind the component had before. */
    data class Call(val component: String, val isLoad: Boolean, val count: Int)

    override fun open(bundle: Bundle, name: String): Component {
        val component = real.open(bundle, name)
        opened.incrementAndGet()
        return object : Component {
            private var loads = 0
            private var runs = 0

            override fun load(method: String) {
                before(Call(name, true, loads++))
                component.load(method)
            }

            override fun run(method: String, inputs: Map<String, FloatBuffer>): Map<String, FloatBuffer> {
                before(Call(name, false, runs++))
                return component.run(method, inputs)
            }

            override fun close() {
                closed.incrementAndGet()
                component.close()
            }
        }
    }
}

/** The exported bundle of the tiny checkpoint, given on Maven's command line; a test that needs it fails without. */
fun exportedBundle(): Path = given("dreamlite.xnnpack")

/** One of two sizes, 64x64 and 64x96. */
fun sizedBundle(): Path = given("dreamlite.sized").resolve("bundle")

private fun given(property: String): Path {
    val path = Path.of(System.getProperty(property).orEmpty())
    check(path.toString().isNotEmpty() && Files.isDirectory(path)) {
        "no bundle at '$path': give -D$property=FOLDER (see android_app/README.md)"
    }
    return path
}
