package dreamlite.app.model

import dreamlite.core.Mode
import dreamlite.core.Picture
import dreamlite.core.PictureSize
import java.util.Random
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertNull
import kotlin.test.assertTrue

/** Oracles: the definitions of EXIF and of Android's levels; hand-made cases. */
class DecisionsTest {
    @Test
    fun `seeds are whole numbers of 64 bits`() {
        assertEquals(0UL, Seeds.parse("0"))
        assertEquals(ULong.MAX_VALUE, Seeds.parse(" 18446744073709551615 "))
        for (wrong in listOf("", "-1", "1.5", "18446744073709551616", "٣", "seven")) assertNull(Seeds.parse(wrong), wrong)
        assertEquals("123", Seeds.typed("1 2-3x"))
        assertEquals(20, Seeds.typed("9".repeat(40)).length)
    }

    @Test
    fun `a rolled seed is short and another each time`() {
        val rolled = List(100) { Seeds.rolled(kotlin.random.Random(it)) }
        assertTrue(rolled.all { it <= 999_999_999UL } && rolled.toSet().size > 95)
    }

    @Test
    fun `every EXIF orientation gives the picture as it was seen`() {
        // Seen: 1 2 3 over 4 5 6, one value a pixel. What a camera stores for each tag value, from EXIF's definition of
        // where the stored row 0 and column 0 lie.
        val stored = mapOf(
            1 to (3 to "123456"),
            2 to (3 to "321654"),
            3 to (3 to "654321"),
            4 to (3 to "456123"),
            5 to (2 to "142536"),
            6 to (2 to "362514"),
            7 to (2 to "635241"),
            8 to (2 to "415263"),
        )
        for ((exif, case) in stored) {
            val (width, pixels) = case
            val seen = Orientation.of(exif).upright(picture(width, pixels))
            assertEquals(3 to 2, seen.width to seen.height, "orientation $exif")
            assertEquals("123456", seen.rgb.filterIndexed { index, _ -> index % 3 == 1 }.joinToString(""), "orientation $exif")
        }
        assertEquals(Orientation.UPRIGHT, Orientation.of(0))
        assertEquals(Orientation.UPRIGHT, Orientation.of(9))
    }

    private fun picture(width: Int, digits: String) =
        Picture(width, digits.length / width, digits.flatMap { digit -> List(3) { digit.digitToInt().toByte() } }.toByteArray())

    @Test
    fun `a photo is read no smaller than wanted`() {
        assertEquals(1, sampling(2048, 10, 2048))
        assertEquals(1, sampling(4095, 10, 2048))
        assertEquals(2, sampling(10, 4096, 2048))
        assertEquals(4, sampling(12_000, 9_000, 2048))
    }

    @Test
    fun `a run waits from critical until below severe`() {
        assertEquals(listOf(false, false, false, false, true, true, true), (0..6).map { Heat.waits(false, it) })
        assertEquals(listOf(false, false, false, true, true, true, true), (0..6).map { Heat.waits(true, it) })
    }

    @Test
    fun `memory is freed when it is short, not when the screen goes`() {
        val levels = listOf(5, 10, 15, 20, 40, 60, 80)
        assertEquals(listOf(false, true, true, false, true, true, true), levels.map { Trim.frees(it) })
    }

    @Test
    fun `a bundle is named after what was picked, and never like another`() {
        assertEquals("tiny-64", Names.of("tiny-64.zip", emptyList()))
        assertEquals("tiny-64-2", Names.of("/a/b/tiny-64", listOf("tiny-64")))
        assertEquals("tiny-64-3", Names.of("tiny 64", listOf("tiny-64", "tiny-64-2")))
        assertEquals("bundle", Names.of("../", emptyList()))
        assertEquals("bundle", Names.of("模型.zip", emptyList()))
        val long = Names.of("x".repeat(300), listOf("x".repeat(56)))
        assertTrue(Regex("[A-Za-z0-9_-]{1,60}").matches(long), long)
    }

    @Test
    fun `bytes and seconds are short`() {
        val bytes = listOf(0L, 999, 1000, 1234, 12_345, 123_456, 999_999, 1_000_000, 2_000_000_000, 5_000_000_000_000)
        assertEquals(
            listOf("0 B", "999 B", "1.00 kB", "1.23 kB", "12.3 kB", "123 kB", "1.00 MB", "1.00 MB", "2.00 GB", "5.00 TB"),
            bytes.map(Shown::bytes),
        )
        assertEquals(listOf("1 ms", "999 ms", "1.0 s", "99.9 s", "123 s"), listOf(0.001, 0.999, 1.0, 99.9, 123.4).map(Shown::seconds))
    }

    @Test
    fun `sizes are those of the same checkpoint, backend and precision`() {
        val small = card("a", 64)
        val large = card("b", 512)
        val cards = listOf(large, small, card("c", 64), card("d", 256).copy(checkpoint = "other"), card("e", 128).copy(precision = "int8"))
        val sizes = Sizes.of(cards, small, PictureSize(64, 64))
        assertEquals(listOf(64 to "a", 512 to "b"), sizes.map { it.size.width to it.bundle })
        assertEquals(listOf(true, false), sizes.map { it.chosen })
    }

    @Test
    fun `a bundle of several sizes offers them all, before another that has the same`() {
        val (square, high) = PictureSize(64, 64) to PictureSize(64, 96)
        val several = card("a", 64).copy(sizes = listOf(high, square))
        val sizes = Sizes.of(listOf(card("b", 64), several), several, several.size(Draft()))
        assertEquals(listOf(square to "a", high to "a"), sizes.map { it.size to it.bundle })
        assertEquals(listOf(false, true), sizes.map { it.chosen })
        assertEquals(square, several.size(Draft(size = square)))
        assertEquals(high, several.size(Draft(size = PictureSize(512, 512))))
    }

    @Test
    fun `an edit takes the size shaped like its picture, until one is chosen that the bundle has`() {
        val (square, high) = PictureSize(64, 64) to PictureSize(64, 96)
        val several = card("a", 64).copy(sizes = listOf(square, high))
        val edit = Draft(source = Source("photo.png", PictureSize(3000, 4000)), size = square)
        assertEquals(high to true, several.size(edit) to several.followsSource(edit))
        assertEquals(square, several.size(edit.copy(source = Source("photo.png", PictureSize(4000, 3000)))))
        val chosen = edit.sized(square)
        assertEquals(square to false, several.size(chosen) to several.followsSource(chosen))
        val elsewhere = edit.sized(PictureSize(512, 512))
        assertEquals(high to true, several.size(elsewhere) to several.followsSource(elsewhere))
        assertEquals(square to false, Draft(size = square).let { several.size(it) to several.followsSource(it) })
    }

    @Test
    fun `latents of a linear world are shown in its own colours`() {
        // Oracle: a known linear map; what was learnt from one picture must give its colours back.
        val random = Random(1)
        val latents = FloatArray(4 * 16) { random.nextGaussian().toFloat() }
        fun colour(cell: Int, channel: Int): Int {
            val value = when (channel) {
                0 -> 120 + 20 * latents[cell] - 10 * latents[16 + cell]
                1 -> 100 + 15 * latents[32 + cell]
                else -> 90 - 12 * latents[48 + cell]
            }
            return value.toInt().coerceIn(0, 255)
        }
        val rgb = ByteArray(3 * 32 * 32) { colour(it / 3 / 32 / 8 * 4 + it / 3 % 32 / 8, it % 3).toByte() }
        val learnt = LatentColours.UNKNOWN.learnt(latents, Picture(32, 32, rgb))
        val kept = LatentColours.read(learnt.text())!!
        for (cell in 0 until 16) {
            val argb = kept.colour { latents[it * 16 + cell] }
            for (channel in 0 until 3) assertEquals(colour(cell, channel).toDouble(), (argb shr (16 - 8 * channel) and 255).toDouble(), 3.0)
        }
    }

    @Test
    fun `colours of another format are not read`() {
        for (text in listOf("", "1 2 3", LatentColours.UNKNOWN.text().replaceFirst("0.001", "NaN"))) assertNull(LatentColours.read(text))
        assertContentEquals(LatentColours.UNKNOWN.text().toList(), LatentColours.read(LatentColours.UNKNOWN.text())!!.text().toList())
    }

    companion object {
        fun card(name: String, side: Int): BundleCard {
            val (sizes, modes) = listOf(PictureSize(side, side)) to Mode.entries.toSet()
            return BundleCard(name, "digest-$name", "checkpoint", "xnnpack", "fp32", null, sizes, modes, 4, 1000, 2000, "own")
        }
    }
}
