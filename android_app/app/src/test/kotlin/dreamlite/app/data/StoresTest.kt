package dreamlite.app.data

import dreamlite.app.model.HistoryEntry
import dreamlite.core.Mode
import dreamlite.core.Picture
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.nio.file.Files
import java.util.Random
import javax.imageio.ImageIO
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertTrue

/** Oracle for PNGs: the JDK's reader. */
class StoresTest {
    @get:Rule
    val folder = TemporaryFolder()
    private val picture = Picture(37, 5, ByteArray(37 * 5 * 3).also { Random(1).nextBytes(it) })

    private fun entry(id: String, created: Long) = HistoryEntry(
        id, Mode.EDIT, "ein Kreis: gelb = 黄色 \\ #!", ULong.MAX_VALUE, 4, 37, 5, "tiny", "xnnpack fp32", created,
        mapOf("loading" to 0.25, "unet" to 1.5), 2.0,
    )

    @Test
    fun `a PNG holds every pixel, and its texts in order`() {
        val bytes = Png.encode(picture, mapOf("Software" to "DreamLite", "parameters" to "黄 circle\nSeed: 1"))
        val read = ImageIO.read(bytes.inputStream())
        assertEquals(37 to 5, read.width to read.height)
        for (y in 0 until 5) {
            for (x in 0 until 37) {
                val at = 3 * (y * 37 + x)
                val expected = (0 until 3).fold(0) { sum, channel -> sum shl 8 or (picture.rgb[at + channel].toInt() and 255) }
                assertEquals(expected, read.getRGB(x, y) and 0xFFFFFF, "$x,$y")
            }
        }
        val reader = ImageIO.getImageReadersByFormatName("png").next().apply { input = ImageIO.createImageInputStream(bytes.inputStream()) }
        val tree = reader.getImageMetadata(0).getAsTree("javax_imageio_png_1.0") as org.w3c.dom.Element
        val texts = tree.getElementsByTagName("iTXtEntry").run { List(length) { item(it) as org.w3c.dom.Element } }
        assertEquals(
            listOf("Software" to "DreamLite", "parameters" to "黄 circle\nSeed: 1"),
            texts.map { it.getAttribute("keyword") to it.getAttribute("text") },
        )
    }

    @Test
    fun `an entry comes back as it was, the newest first`() {
        val store = HistoryStore(folder.root.toPath().resolve("history"))
        assertTrue(store.list().isEmpty())
        store.add(entry("old", 1), picture, null)
        store.add(entry("new", 2), picture, picture)
        assertEquals(listOf(entry("new", 2), entry("old", 1)), store.list())
        assertTrue(Files.isRegularFile(store.source("new")) && !Files.exists(store.source("old")))
        store.delete("new")
        assertEquals(listOf("old"), store.list().map { it.id })
        assertEquals(1, Files.list(folder.root.toPath().resolve("history")).use { it.count() })
    }

    @Test
    fun `what is not whole is not shown, and a failed write leaves nothing`() {
        val home = folder.root.toPath().resolve("history")
        val store = HistoryStore(home)
        Files.createDirectories(home.resolve("1.part"))
        Files.createDirectories(home.resolve("2"))
        Files.createDirectories(home.resolve("3"))
        Files.writeString(home.resolve("3/entry.properties"), "mode=paint\n")
        assertTrue(store.list().isEmpty())
        // The place is taken, so the last rename fails.
        Files.createDirectories(home.resolve("4/x"))
        assertFailsWith<java.io.IOException> { store.add(entry("4", 1), picture, null) }
        assertFalse(Files.exists(home.resolve("4.part")))
    }

    @Test
    fun `a thumbnail is small and keeps the shape`() {
        val store = HistoryStore(folder.root.toPath())
        store.add(entry("wide", 1), Picture(800, 400, ByteArray(800 * 400 * 3)), null)
        val thumb = ImageIO.read(store.thumb("wide").toFile())
        assertEquals(192 to 96, thumb.width to thumb.height)
    }
}
