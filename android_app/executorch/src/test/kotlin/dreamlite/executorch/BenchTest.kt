package dreamlite.executorch

import dreamlite.core.Bundle
import dreamlite.core.MANIFEST_NAME
import dreamlite.core.Mode
import dreamlite.core.Picture
import dreamlite.core.bench.AppVersions
import dreamlite.core.bench.BenchRunner
import dreamlite.core.bench.Conditions
import dreamlite.core.bench.Gauges
import dreamlite.core.bench.PhoneFile
import dreamlite.core.bench.PictureFiles
import dreamlite.core.bench.RunRequest
import dreamlite.core.bench.RunResult
import dreamlite.core.componentsOf
import dreamlite.core.sha256
import kotlinx.coroutines.runBlocking
import org.pytorch.executorch.Module
import java.awt.image.BufferedImage
import java.io.ByteArrayOutputStream
import java.nio.file.Files
import java.nio.file.Path
import javax.imageio.ImageIO
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** The bench entry over real programs: its picture is Python's. tests/test_android_build.py holds the answers to the host's checks. */
class BenchTest {
    private val bundle = Bundle.open(folder("dreamlite.xnnpack"))

    private object Machine : Gauges {
        override fun monotonicNanos(): Long = System.nanoTime()

        override fun wallMillis(): Long = System.currentTimeMillis()

        override fun conditions() = Conditions(thermalStatus = 0)

        override fun cpuKhz(): List<Long>? = null

        override fun pssBytes(): Long = java.lang.Runtime.getRuntime().run { totalMemory() - freeMemory() }

        override fun availableBytes(): Long = Long.MAX_VALUE
    }

    private object ImageFiles : PictureFiles {
        override fun read(file: Path): Picture {
            val image = ImageIO.read(file.toFile())
            val pixels = image.getRGB(0, 0, image.width, image.height, null, 0, image.width)
            return Picture(image.width, image.height, ByteArray(3 * pixels.size) { (pixels[it / 3] shr (16 - 8 * (it % 3))).toByte() })
        }

        override fun png(picture: Picture): ByteArray {
            val image = BufferedImage(picture.width, picture.height, BufferedImage.TYPE_INT_RGB)
            for (at in 0 until picture.width * picture.height) {
                val value = (0 until 3).fold(0) { sum, channel -> sum shl 8 or (picture.rgb[3 * at + channel].toInt() and 0xFF) }
                image.setRGB(at % picture.width, at / picture.width, value)
            }
            return ByteArrayOutputStream().also { ImageIO.write(image, "png", it) }.toByteArray()
        }
    }

    @Test
    fun `a request to generate is answered with Python's picture`() = assertAnswered(Mode.GENERATE)

    @Test
    fun `a request to edit is answered with Python's picture`() = assertAnswered(Mode.EDIT)

    private fun assertAnswered(mode: Mode) = runBlocking {
        val root = Path.of("target/bench").toAbsolutePath()
        val out = Files.createDirectories(root.resolve(mode.key).also { it.toFile().deleteRecursively() })
        val source = root.resolve("source.png")
        if (mode == Mode.EDIT) Files.write(source, ImageFiles.png(Runs.source))
        val request = RunRequest(
            id = mode.key,
            bundle = "${bundle.path}",
            bundleSha256 = sha256(bundle.path.resolve(MANIFEST_NAME)),
            mode = mode,
            prompt = if (mode == Mode.EDIT) Runs.instruction else Runs.prompt,
            picture = if (mode == Mode.EDIT) PhoneFile("$source", sha256(source)) else null,
            size = null,
            seed = Runs.seed,
            steps = Runs.steps,
            warmUp = 1,
            runs = 2,
            sustainS = null,
            threads = 1,
            out = "$out",
        )
        Files.writeString(out.resolve("request.json"), request.toJson())
        val runtime = Runtime(bundle.manifest.needs.executorch!!, null, null)
        val app = AppVersions("0.1.0", runtime.executorch)
        val runner = BenchRunner(app, Machine, ImageFiles, { ExecuTorchFactory(runtime, it ?: 0) }, listOf(root))
        val result = runner.run(out.resolve("request.json"))
        assertEquals(result, RunResult.read(Files.readAllBytes(out.resolve("result.json"))))
        assertEquals(null, result.problem)
        assertEquals(componentsOf(mode), result.load.map { it.component })
        assertTrue(result.load.all { it.ms > 0 } && result.samples.all { it.stages.values.all { ms -> ms > 0 } })
        assertTrue(Runs.psnr(mode, ImageFiles.read(out.resolve(result.picture!!.file))) >= 60.0)
        assertEquals(0, Module.openModules())
    }
}
