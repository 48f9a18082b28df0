package dreamlite.app.data

import dreamlite.core.Picture
import java.io.ByteArrayOutputStream
import java.io.DataOutputStream
import java.util.zip.CRC32
import java.util.zip.Deflater
import java.util.zip.DeflaterOutputStream
import kotlin.math.abs

/** Writes PNGs of 8-bit RGB with texts inside (iTXt, UTF-8), which Android's own encoder cannot. */
object Png {
    private val SIGNATURE = byteArrayOf(0x89.toByte(), 'P'.code.toByte(), 'N'.code.toByte(), 'G'.code.toByte(), 13, 10, 26, 10)
    private const val PAETH: Byte = 4
    private const val PIXEL = 3
    private const val BYTE = 0xFF
    private const val MOST_KEYWORD = 79

    /** [texts]: keyword (Latin letters, at most 79) to text. */
    fun encode(picture: Picture, texts: Map<String, String> = emptyMap()): ByteArray {
        val bytes = ByteArrayOutputStream()
        val out = DataOutputStream(bytes)
        out.write(SIGNATURE)
        chunk(out, "IHDR", header(picture))
        for ((keyword, text) in texts) {
            require(keyword.length in 1..MOST_KEYWORD && keyword.all { it in ' '..'~' }) { "keyword '$keyword'" }
            // No compression, no language, no translated keyword.
            chunk(out, "iTXt", keyword.toByteArray() + ByteArray(5) + text.replace("\u0000", "").toByteArray())
        }
        chunk(out, "IDAT", pixels(picture))
        chunk(out, "IEND", ByteArray(0))
        return bytes.toByteArray()
    }

    private fun header(picture: Picture): ByteArray {
        val bytes = ByteArrayOutputStream()
        DataOutputStream(bytes).run {
            writeInt(picture.width)
            writeInt(picture.height)
            // 8 bits, RGB, deflate, adaptive filters, not interlaced.
            write(byteArrayOf(8, 2, 0, 0, 0))
        }
        return bytes.toByteArray()
    }

    private fun pixels(picture: Picture): ByteArray {
        val stride = picture.width * PIXEL
        val bytes = ByteArrayOutputStream()
        val deflater = Deflater(Deflater.DEFAULT_COMPRESSION)
        DeflaterOutputStream(bytes, deflater).use { out ->
            val line = ByteArray(stride + 1).also { it[0] = PAETH }
            for (y in 0 until picture.height) {
                for (x in 0 until stride) line[x + 1] = (at(picture, stride, x, y) - predicted(picture, stride, x, y)).toByte()
                out.write(line)
            }
        }
        deflater.end()
        return bytes.toByteArray()
    }

    private fun at(picture: Picture, stride: Int, x: Int, y: Int): Int =
        if (x < 0 || y < 0) 0 else picture.rgb[y * stride + x].toInt() and BYTE

    /** PNG's Paeth predictor: whichever of left, above, above left is nearest to left + above - above left. */
    private fun predicted(picture: Picture, stride: Int, x: Int, y: Int): Int {
        val left = at(picture, stride, x - PIXEL, y)
        val above = at(picture, stride, x, y - 1)
        val corner = at(picture, stride, x - PIXEL, y - 1)
        val guess = left + above - corner
        val (fromLeft, fromAbove) = abs(guess - left) to abs(guess - above)
        val fromCorner = abs(guess - corner)
        return when {
            fromLeft <= fromAbove && fromLeft <= fromCorner -> left
            fromAbove <= fromCorner -> above
            else -> corner
        }
    }

    private fun chunk(out: DataOutputStream, type: String, data: ByteArray) {
        val name = type.toByteArray()
        val sum = CRC32().apply {
            update(name)
            update(data)
        }
        out.writeInt(data.size)
        out.write(name)
        out.write(data)
        out.writeInt(sum.value.toInt())
    }
}
