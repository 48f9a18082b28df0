package dreamlite.app.data

import dreamlite.core.Bundle
import dreamlite.core.ComponentFactory
import dreamlite.core.Manifest
import dreamlite.core.Mode
import dreamlite.core.Picture
import dreamlite.core.PictureSize
import dreamlite.core.Pipeline
import dreamlite.core.Progress
import dreamlite.core.Residency
import dreamlite.core.Session
import dreamlite.core.memoryEstimate
import dreamlite.core.residency
import kotlinx.coroutines.flow.Flow
import java.nio.file.Path

/** A loaded bundle that draws: all that the app knows of inference. */
interface Painter : AutoCloseable {
    val manifest: Manifest

    fun generate(prompt: String, seed: ULong, steps: Int, size: PictureSize): Flow<Progress>

    fun edit(picture: Picture, instruction: String, seed: ULong, steps: Int, size: PictureSize): Flow<Progress>

    /** Frees what is loaded as soon as it can be spared. */
    fun trim()
}

/** Opens a bundle's folder; DreamLiteException where it cannot be used. */
fun interface PainterFactory {
    fun open(path: Path, residency: Residency): Painter
}

/** Over the library's pipeline. Digests were compared when the bundle was imported; here names and sizes are. */
class PipelinePainters(private val factory: ComponentFactory) : PainterFactory {
    override fun open(path: Path, residency: Residency): Painter {
        val bundle = Bundle.open(path, hashes = false)
        val session = Session(bundle, factory, residency)
        val pipeline = try {
            Pipeline(session)
        } catch (error: Exception) {
            session.close()
            throw error
        }
        return object : Painter {
            override val manifest = bundle.manifest

            override fun generate(prompt: String, seed: ULong, steps: Int, size: PictureSize) = pipeline.generate(prompt, seed, steps, size)

            override fun edit(picture: Picture, instruction: String, seed: ULong, steps: Int, size: PictureSize) =
                pipeline.edit(picture, instruction, seed, steps, size)

            override fun trim() = session.trim()

            override fun close() = session.close()
        }
    }
}

/** Everything stays loaded where every mode fits so; a mode that does not fit at all is refused, with the numbers. */
fun Manifest.plan(mode: Mode, available: Long): Residency {
    val own = residency(mode, available)
    return if (modes.all { memoryEstimate(it).all <= available }) own else Residency.ONE_AT_A_TIME
}

/**
 * Holds the one painter that is open. It is opened anew when another bundle is wanted, also one that replaced the last under
 * its name (another digest), and after [trim] and [drop].
 */
class Easel(private val factory: PainterFactory) {
    private var key: Pair<Path, String>? = null
    private var painter: Painter? = null

    /** [residency] is asked where one must be opened: what is open already has its memory. */
    @Synchronized
    fun painter(path: Path, digest: String, residency: () -> Residency): Painter {
        painter?.let { if (key == path to digest) return it }
        drop()
        return factory.open(path, residency()).also {
            painter = it
            key = path to digest
        }
    }

    /** Frees what is loaded, at the end of a run that goes on; the next run plans its memory anew. */
    @Synchronized
    fun trim() {
        key = null
        painter?.trim()
    }

    /** Closes the painter; a run that goes on frees at its end. */
    @Synchronized
    fun drop() {
        val open = painter
        painter = null
        key = null
        open?.close()
    }
}
