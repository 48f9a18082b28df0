package dreamlite.core

import java.nio.FloatBuffer
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith

/** Oracle: Pillow's LANCZOS and `images.py` of the exporter; every comparison is exact. */
class GoldenPictureTest {
    private val document = Golden.json("pictures.json")
    private val targets = document["targets"].all.map { it.ints }

    private fun each(check: (String, Picture) -> Unit) {
        for (case in document["sources"].all) {
            val name = case["name"].text
            check(name, Picture(case["width"].int, case["height"].int, Golden.bytes("$name.rgb")))
        }
    }

    private fun assertSame(expected: FloatBuffer, found: FloatBuffer, message: String) {
        assertEquals(expected.capacity(), found.capacity(), message)
        for (index in 0 until expected.capacity()) {
            assertEquals(expected.get(index).toRawBits(), found.get(index).toRawBits(), "$message at $index")
        }
    }

    @Test
    fun `resized pixels`() = each { name, source ->
        for ((width, height) in targets) {
            assertContentEquals(Golden.bytes("$name-${width}x$height.rgb"), source.resized(width, height).rgb, "$name to ${width}x$height")
        }
    }

    @Test
    fun `the condition of an edit`() = each { name, source ->
        for ((width, height) in targets) {
            val found = floatBuffer(3 * width * height).also { source.toCondition(width, height, it) }
            assertSame(Golden.floats("$name-${width}x$height.f32"), found, "$name to ${width}x$height")
        }
    }

    @Test
    fun `patches of the vision tower`() = each { name, source ->
        val vision = node(document["vision"], ::readVisionEntry)
        val found = floatBuffer(vision.numPatches * 3 * vision.patchSize * vision.patchSize).also { source.toPatches(vision, it) }
        assertSame(Golden.floats("$name-patches.f32"), found, name)
    }

    @Test
    fun `decoded pictures are rounded and clipped`() {
        val (width, height) = document["decoded"].ints
        assertContentEquals(Golden.bytes("pictures/decoded.rgb"), Picture.of(Golden.floats("pictures/decoded.f32"), width, height).rgb)
    }

    @Test
    fun `an edit takes the size shaped most like its picture`() {
        fun size(json: Json) = json.ints.let { (width, height) -> PictureSize(width, height) }
        val shapes = document["shapes"].all.map(::size)
        for (case in document["nearest"].all) {
            val sizes = case["sizes"].all.map(::size)
            assertEquals(case["chosen"].all.map(::size), shapes.map(sizes::nearestShape), "$sizes")
        }
    }

    @Test
    fun `a decoded NaN is refused`() {
        val image = FloatBuffer.wrap(FloatArray(3 * 4).also { it[7] = Float.NaN })
        assertFailsWith<ImageException> { Picture.of(image, 2, 2) }
    }

    @Test
    fun `sources that are too small or too large are refused`() {
        for ((width, height) in listOf(15 to 100, 100 to 15, 16_385 to 16)) {
            assertFailsWith<ImageException> { Picture(width, height, ByteArray(3 * width * height)).checkSource() }
        }
    }
}
