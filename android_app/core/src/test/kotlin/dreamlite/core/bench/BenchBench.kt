package dreamlite.core.bench

import dreamlite.core.Bundle
import dreamlite.core.ComponentFactory
import dreamlite.core.FakeBundle
import dreamlite.core.ImageException
import dreamlite.core.MANIFEST_NAME
import dreamlite.core.Mode
import dreamlite.core.Picture
import dreamlite.core.sha256
import java.awt.image.BufferedImage
import java.io.ByteArrayOutputStream
import java.nio.file.Files
import java.nio.file.Path
import javax.imageio.ImageIO

/** A machine that says what a test wants to hear; its clock is the real one, and [ahead] nanoseconds. */
internal class FakeGauges(private val memory: Long = Long.MAX_VALUE) : Gauges {
    var ahead = 0L
    val asked = ArrayList<String>()
    private var pss = 1000L

    override fun monotonicNanos(): Long = System.nanoTime() - START + ahead

    override fun wallMillis(): Long = System.currentTimeMillis()

    override fun conditions() = Conditions(thermalStatus = 1, headroom = 0.5, charging = false, batteryPercent = 80, batteryCelsius = 31.5)
        .also { asked += "conditions" }

    override fun cpuKhz() = listOf(2_265_600L, 3_302_400L)

    override fun pssBytes(): Long = pss.also { pss += 1 }.also { asked += "pss" }

    override fun availableBytes(): Long = memory

    private companion object {
        val START = System.nanoTime()
    }
}

/** PNG by the JVM. */
internal object ImageFiles : PictureFiles {
    override fun read(file: Path): Picture {
        val image = ImageIO.read(file.toFile()) ?: throw ImageException("$file: is no picture")
        val rgb = ByteArray(3 * image.width * image.height) { at ->
            val pixel = image.getRGB(at / 3 % image.width, at / 3 / image.width)
            (pixel shr (16 - 8 * (at % 3))).toByte()
        }
        return Picture(image.width, image.height, rgb)
    }

    override fun png(picture: Picture): ByteArray {
        val image = BufferedImage(picture.width, picture.height, BufferedImage.TYPE_INT_RGB)
        for (at in 0 until picture.width * picture.height) {
            val (red, green, blue) = List(3) { picture.rgb[3 * at + it].toInt() and 0xFF }
            image.setRGB(at % picture.width, at / picture.width, red shl 16 or (green shl 8) or blue)
        }
        return ByteArrayOutputStream().also { ImageIO.write(image, "png", it) }.toByteArray()
    }
}

/** A bundle, a source picture and a place for answers in one folder, and the runner over them. */
internal class BenchBench(
    private val folder: Path,
    private val factory: ComponentFactory,
    val gauges: FakeGauges = FakeGauges(),
    sized: Boolean = false,
) {
    val bundle: Path = FakeBundle(folder.resolve("bundle"), sized = sized).path
    val roots: Path = folder.resolve("answers")
    private val source = folder.resolve("source.png")
    val threads = ArrayList<Int?>()

    init {
        Files.write(source, ImageFiles.png(Picture(20, 30, ByteArray(1800) { (it * 7).toByte() })))
    }

    fun request(mode: Mode = Mode.GENERATE, id: String = mode.key) = RunRequest(
        id = id,
        bundle = "$bundle",
        bundleSha256 = sha256(bundle.resolve(MANIFEST_NAME)),
        mode = mode,
        prompt = "a red circle",
        picture = if (mode == Mode.EDIT) PhoneFile("$source", sha256(source)) else null,
        size = null,
        seed = ULong.MAX_VALUE,
        steps = 2,
        warmUp = 1,
        runs = 3,
        sustainS = null,
        threads = 4,
        out = "${roots.resolve(id)}",
    )

    suspend fun run(request: RunRequest, told: (Sample) -> Unit = {}): RunResult = runFile(request.toJson(), told)

    suspend fun runFile(text: String, told: (Sample) -> Unit = {}): RunResult {
        val file = Files.writeString(folder.resolve("request.json"), text)
        val maker = FactoryMaker { asked -> factory.also { threads += asked } }
        return BenchRunner(AppVersions("0.1.0-test", "1.5.1"), gauges, ImageFiles, maker, listOf(roots)).run(file, told)
    }

    /** The answer's file, if its marker vouches for it. */
    fun answer(request: RunRequest): RunResult {
        val out = Path.of(request.out)
        val bytes = Files.readAllBytes(out.resolve("result.json"))
        check(Files.readString(out.resolve("done")) == sha256(bytes)) { "the marker is not the result's digest" }
        check(Files.list(out).use { all -> all.noneMatch { "$it".endsWith(".part") } }) { "something half-written is left" }
        return RunResult.read(bytes)
    }

    fun open(): Bundle = Bundle.open(bundle)
}
