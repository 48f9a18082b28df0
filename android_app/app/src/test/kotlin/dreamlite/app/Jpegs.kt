package dreamlite.app

import android.graphics.Bitmap
import android.graphics.Color
import java.io.ByteArrayOutputStream

/**
 * A JPEG of 64x32 whose EXIF says that it was stored on its left side: what was up is the left column, so it must be turned
 * right (6), and is then 32x64, red above blue.
 */
fun turnedPhoto(): ByteArray {
    val bitmap = Bitmap.createBitmap(64, 32, Bitmap.Config.ARGB_8888)
    for (y in 0 until 32) for (x in 0 until 64) bitmap.setPixel(x, y, if (x < 32) Color.RED else Color.BLUE)
    val jpeg = ByteArrayOutputStream().also { bitmap.compress(Bitmap.CompressFormat.JPEG, 95, it) }.toByteArray()
    return withOrientation(jpeg, 6)
}

/** An APP1 segment with one big-endian TIFF entry: tag 274, one short. */
private fun withOrientation(jpeg: ByteArray, value: Int): ByteArray {
    val tiff = "MM".toByteArray() + bytes(0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, value, 0, 0, 0, 0, 0, 0)
    val body = "Exif".toByteArray() + bytes(0, 0) + tiff
    return jpeg.copyOfRange(0, 2) + bytes(0xFF, 0xE1, 0, body.size + 2) + body + jpeg.copyOfRange(2, jpeg.size)
}

private fun bytes(vararg values: Int) = ByteArray(values.size) { values[it].toByte() }
