package dreamlite.app.model

import dreamlite.core.Picture
import dreamlite.core.Progress
import org.junit.Test
import java.util.Random
import kotlin.math.abs
import kotlin.test.assertEquals
import kotlin.test.assertTrue

class PreviewTest {
    private val sigmas = floatArrayOf(1f, 0.75f, 0.25f, 0f)

    @Test
    fun `where the velocity is true every step shows the finished picture`() {
        // Oracle: flow matching itself. x(sigma) = (1 - sigma) clean + sigma noise is a straight line, so its end is known.
        val random = Random(2)
        val clean = FloatArray(16) { random.nextFloat() - 0.5f }
        val noise = FloatArray(16) { random.nextGaussian().toFloat() }
        val preview = Preview(noise, sigmas, 2, LatentColours.UNKNOWN)
        val finished = IntArray(4) { cell -> LatentColours.UNKNOWN.colour { clean[it * 4 + cell] } }
        for (index in 0 until 3) {
            val at = sigmas[index + 1]
            val latents = FloatArray(16) { (1 - at) * clean[it] + at * noise[it] }
            val pixels = preview.of(Progress.Step(index, 3, sigmas[index], latents, 0.1))
            assertEquals(2 to 2, pixels.width to pixels.height)
            for (cell in 0 until 4) assertTrue(distance(finished[cell], pixels.argb[cell]) <= 1, "step $index, cell $cell")
        }
    }

    @Test
    fun `colours stay within a byte and opaque`() {
        val hot = LatentColours.UNKNOWN.colour { 1e9f }
        val cold = LatentColours.UNKNOWN.colour { -1e9f }
        assertEquals(0xFFFFFFFF.toInt(), hot)
        assertEquals(0xFF000000.toInt(), cold)
    }

    @Test
    fun `a picture of one colour does not spoil what was learnt`() {
        val random = Random(3)
        val latents = FloatArray(64) { random.nextGaussian().toFloat() }
        val rgb = ByteArray(3 * 1024) { (128 + 20 * latents[it / 3 / 32 / 8 * 4 + it / 3 % 32 / 8]).toInt().toByte() }
        val learnt = LatentColours.UNKNOWN.learnt(latents, Picture(32, 32, rgb))
        val after = learnt.learnt(FloatArray(64), Picture(32, 32, ByteArray(3 * 1024) { 127 }))
        for (cell in 0 until 16) {
            val (one, two) = listOf(learnt, after).map { map -> map.colour { latents[it * 16 + cell] } }
            assertTrue(distance(one, two) <= 8, "cell $cell: ${one.toUInt().toString(16)} ${two.toUInt().toString(16)}")
        }
    }

    private fun distance(one: Int, two: Int) = listOf(0, 8, 16).maxOf { abs((one shr it and 255) - (two shr it and 255)) }
}
