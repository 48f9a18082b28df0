package dreamlite.app.data

import android.content.ContentResolver
import android.content.ContentValues
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.media.ExifInterface
import android.net.Uri
import android.os.Environment
import android.provider.MediaStore
import dreamlite.app.model.HistoryEntry
import dreamlite.app.model.Orientation
import dreamlite.app.model.sampling
import dreamlite.core.ImageException
import dreamlite.core.Picture
import java.io.IOException
import java.io.InputStream
import java.nio.file.Files
import java.nio.file.Path

/** Pictures in and out of Android's bitmaps. */
object Photos {
    /** More than any bundle looks at; keeps a photo of 200 megapixels out of memory. */
    private const val WANTED = 2048

    /** An upright picture, as EXIF says. ImageException or IOException where it cannot be read. */
    fun read(open: () -> InputStream, wanted: Int = WANTED): Picture {
        val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        open().use { BitmapFactory.decodeStream(it, null, bounds) }
        if (bounds.outWidth <= 0) throw ImageException("the file is no picture that this phone reads; use a JPEG, PNG, WebP or HEIC")
        val options = BitmapFactory.Options().apply {
            inSampleSize = sampling(bounds.outWidth, bounds.outHeight, wanted)
            // Transparency is dropped, not blended with black: as the exporter does.
            inPremultiplied = false
        }
        val bitmap = open().use { BitmapFactory.decodeStream(it, null, options) } ?: throw ImageException("the picture is damaged")
        return Orientation.of(orientation(open)).upright(picture(bitmap)).also { bitmap.recycle() }
    }

    fun read(file: Path): Picture = read({ Files.newInputStream(file) }, Int.MAX_VALUE)

    fun picture(bitmap: Bitmap): Picture {
        val (width, height) = bitmap.width to bitmap.height
        val line = IntArray(width)
        val rgb = ByteArray(width * height * 3)
        var at = 0
        for (y in 0 until height) {
            bitmap.getPixels(line, 0, width, 0, y, width, 1)
            for (argb in line) {
                rgb[at++] = (argb shr 16).toByte()
                rgb[at++] = (argb shr 8).toByte()
                rgb[at++] = argb.toByte()
            }
        }
        return Picture(width, height, rgb)
    }

    private fun orientation(open: () -> InputStream): Int = try {
        open().use { ExifInterface(it).getAttributeInt(ExifInterface.TAG_ORIENTATION, Orientation.UPRIGHT.exif) }
    } catch (_: IOException) {
        Orientation.UPRIGHT.exif
    }
}

/** The phone's own gallery. */
fun interface Gallery {
    /** Keeps a PNG there under a name. IOException where it cannot. */
    fun save(png: Path, entry: HistoryEntry)
}

/** `Pictures/DreamLite`, visible to others only when it is whole. The PNG carries prompt and seed. */
class MediaGallery(private val resolver: ContentResolver) : Gallery {
    override fun save(png: Path, entry: HistoryEntry) {
        val collection = MediaStore.Images.Media.getContentUri(MediaStore.VOLUME_EXTERNAL_PRIMARY)
        val uri = resolver.insert(collection, described(entry)) ?: throw IOException("the gallery takes no picture")
        try {
            val stream = resolver.openOutputStream(uri) ?: throw IOException("the gallery opens no file")
            stream.use { Files.copy(png, it) }
            resolver.update(uri, ContentValues().apply { put(MediaStore.Images.Media.IS_PENDING, 0) }, null, null)
        } catch (error: IOException) {
            resolver.delete(uri, null, null)
            throw error
        }
    }

    private fun described(entry: HistoryEntry) = ContentValues().apply {
        put(MediaStore.Images.Media.DISPLAY_NAME, "dreamlite-${entry.id}.png")
        put(MediaStore.Images.Media.MIME_TYPE, "image/png")
        put(MediaStore.Images.Media.RELATIVE_PATH, "${Environment.DIRECTORY_PICTURES}/DreamLite")
        put(MediaStore.Images.Media.DATE_TAKEN, entry.created)
        put(MediaStore.Images.Media.DESCRIPTION, HistoryStore.texts(entry).getValue("parameters"))
        put(MediaStore.Images.Media.IS_PENDING, 1)
    }
}
