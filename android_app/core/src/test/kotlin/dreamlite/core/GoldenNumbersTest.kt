package dreamlite.core

import java.nio.FloatBuffer
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue

/** Oracle: `noise.py` and `scheduler.py` of the exporter; every comparison is of bits. */
class GoldenNumbersTest {
    private fun bits(values: FloatArray) = IntArray(values.size) { values[it].toRawBits() }

    private fun floats(json: Json) = json.bits.let { bits -> FloatArray(bits.size) { Float.fromBits(bits[it]) } }

    @Test
    fun `philox words`() {
        val words = IntArray(4)
        for (case in Golden.json("noise.json")["philox"].all) {
            Noise.philox(case["block"].text.toLong(), case["seed"].text.toULong().toLong(), words)
            assertContentEquals(case["words"].bits, words, "seed ${case["seed"].text} block ${case["block"].text}")
        }
    }

    @Test
    fun `normal deviates`() {
        for (case in Golden.json("noise.json")["normals"].all) {
            val expected = case["bits"].bits
            val found = FloatArray(expected.size).also { Noise.fill(case["seed"].text.toULong(), it) }
            assertContentEquals(expected, bits(found), "seed ${case["seed"].text}")
        }
    }

    @Test
    fun `manifests call the noise by its name`() = assertEquals(Golden.json("noise.json")["name"].text, Noise.NAME)

    @Test
    fun `sigma tables`() {
        val tables = Golden.json("schedule.json")["tables"].all
        assertTrue(tables.size >= 1000)
        for (case in tables) {
            val config = node(case["scheduler"]) { it.members { readSchedule() } }
            val found = Schedule.sigmas(case["steps"].int, case["width"].int, case["height"].int, case["vae_scale"].int, config)
            assertContentEquals(
                case["bits"].bits,
                bits(found),
                "${case["steps"].int} steps, ${case["width"].int}x${case["height"].int}, $config",
            )
        }
    }

    @Test
    fun `euler steps`() {
        for (case in Golden.json("schedule.json")["euler"].all) {
            val (latents, sigmas) = floats(case["latents"]) to floats(case["sigmas"])
            Schedule.eulerStep(latents, FloatBuffer.wrap(floats(case["velocity"])), sigmas[0], sigmas[1])
            assertContentEquals(case["after"].bits, bits(latents))
        }
    }

    @Test
    fun `steps outside 1 to 50 are refused`() {
        for (steps in listOf(0, -1, 51)) assertFailsWith<ConfigException> { Schedule.checkSteps(steps) }
    }

    @Test
    fun `half precision is widened exactly`() {
        for (bits in 0..0xFFFF) {
            val (exponent, fraction) = (bits shr 10 and 0x1F) to (bits and 0x3FF)
            val size = when (exponent) {
                0 -> Math.scalb(fraction.toFloat(), -24)
                31 -> if (fraction == 0) Float.POSITIVE_INFINITY else Float.NaN
                else -> Math.scalb(1f + fraction / 1024f, exponent - 15)
            }
            val found = halfToFloat(bits)
            if (size.isNaN()) {
                assertTrue(found.isNaN())
            } else {
                assertEquals(
                    (
                        if (bits <
                            0x8000
                        ) {
                            size
                        } else {
                            -size
                        }
                        ).toRawBits(),
                    found.toRawBits(),
                )
            }
        }
    }
}
