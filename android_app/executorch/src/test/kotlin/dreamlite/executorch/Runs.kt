package dreamlite.executorch

import dreamlite.core.Bundle
import dreamlite.core.ComponentFactory
import dreamlite.core.Mode
import dreamlite.core.Picture
import dreamlite.core.Pipeline
import dreamlite.core.Progress
import dreamlite.core.Residency
import dreamlite.core.Session
import dreamlite.core.sha256
import kotlinx.coroutines.flow.toList
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Files
import java.nio.file.Path
import java.util.Properties
import kotlin.math.log10
import kotlin.math.sqrt
import kotlin.test.assertEquals

/** A folder given on Maven's command line; a test that needs it fails where it is missing. */
fun folder(property: String): Path {
    val path = Path.of(System.getProperty(property).orEmpty())
    check(Files.isDirectory(path) && path.toString().isNotEmpty()) {
        "no folder '$path': give -D$property=FOLDER (see android_app/README.md)"
    }
    return path
}

/** Pictures that the Python runtime made from the exported bundle (`dreamlite golden --bundle`). */
object Runs : GoldenRuns(folder("dreamlite.golden"))

/** Pictures that the Python runtime made from a bundle, and how to make them again. */
open class GoldenRuns(private val golden: Path) {
    private val digests = Files.readAllLines(golden.resolve("golden.sha256")).associate { it.substring(66) to it.substring(0, 64) }
    private val how = Properties().apply { load(bytes("run.properties").inputStream()) }
    val steps = how.getProperty("steps").toInt()
    val seed = how.getProperty("seed").toULong()
    val prompt: String = how.getProperty("prompt")
    val instruction: String = how.getProperty("instruction")
    val source get() = Picture(how.getProperty("sourceWidth").toInt(), how.getProperty("sourceHeight").toInt(), bytes("source.rgb"))

    class Made(val steps: List<FloatArray>, val done: Progress.Done)

    /** How far from Python's: the worst step's relative error of the latents, and the picture's PSNR in dB. */
    data class Distance(val latents: Double, val picture: Double)

    suspend fun make(bundle: Bundle, factory: ComponentFactory, mode: Mode, residency: Residency = Residency.KEEP_ALL): Made =
        Session(bundle, factory, residency).use { session -> make(Pipeline(session), mode) }

    suspend fun make(pipeline: Pipeline, mode: Mode): Made {
        val told = if (mode == Mode.GENERATE) {
            pipeline.generate(prompt, seed, steps).toList()
        } else {
            pipeline.edit(source, instruction, seed, steps).toList()
        }
        return Made(told.filterIsInstance<Progress.Step>().map { it.latents }, told.last() as Progress.Done)
    }

    fun distance(mode: Mode, made: Made): Distance {
        val expected = ByteBuffer.wrap(bytes("${mode.key}.f32")).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        assertEquals(steps, made.steps.size)
        assertEquals(expected.capacity(), made.steps.sumOf { it.size })
        val worst = made.steps.maxOf { found ->
            val wanted = FloatArray(found.size).also { expected.get(it) }
            val off = found.indices.sumOf { square((found[it] - wanted[it]).toDouble()) }
            sqrt(off / wanted.sumOf { square(it.toDouble()) })
        }
        return Distance(worst, psnr(mode, made.done.picture))
    }

    /** Of a picture against Python's, in dB. */
    fun psnr(mode: Mode, picture: Picture): Double = psnr(bytes("${mode.key}.rgb"), picture.rgb)

    private fun psnr(expected: ByteArray, found: ByteArray): Double {
        assertEquals(expected.size, found.size)
        val off = found.indices.sumOf { square(((found[it].toInt() and 0xFF) - (expected[it].toInt() and 0xFF)).toDouble()) }
        return if (off == 0.0) Double.POSITIVE_INFINITY else 10 * log10(255.0 * 255.0 * found.size / off)
    }

    private fun square(x: Double) = x * x

    private fun bytes(name: String): ByteArray {
        val file = golden.resolve("runs/$name")
        assertEquals(digests["runs/$name"], sha256(file), "$name was changed after it was written")
        return Files.readAllBytes(file)
    }
}
