package dreamlite.core

import java.io.EOFException
import java.io.InputStream
import java.nio.file.Files
import java.nio.file.Path
import java.util.zip.ZipException
import java.util.zip.ZipInputStream
import kotlin.io.path.walk

/** Where a bundle is imported from. An app adds its own for the system's document trees. */
public interface BundleSource {
    /**
     * Calls [each] with every file's path relative to the bundle, `/` between its parts, and its bytes, in any order,
     * until it returns false. May be called more than once. IOException where it cannot be read.
     */
    public fun read(each: (String, InputStream) -> Boolean)
}

/** A folder on this machine: what `adb push` left, for one. Links are not followed. */
public class FolderSource(private val folder: Path) : BundleSource {
    override fun read(each: (String, InputStream) -> Boolean) {
        for (file in folder.walk().sorted()) {
            val name = folder.relativize(file).joinToString("/")
            if (Files.isSymbolicLink(file)) throw BundleException("'$name' is a symbolic link; a bundle holds plain files only. $AGAIN")
            if (!Files.newInputStream(file).use { each(name, it) }) return
        }
    }
}

/** A zip, whose bundle lies at its top or in one folder there. [open] is called once for each reading. */
public class ZipSource(private val open: () -> InputStream) : BundleSource {
    private var top: String? = null

    override fun read(each: (String, InputStream) -> Boolean) {
        val prefix = top ?: findTop().also { top = it }
        entries { name, stream ->
            if (!name.startsWith(prefix)) throw BundleException("'$name' lies outside the bundle's folder '$prefix' in the zip. $AGAIN")
            each(name.removePrefix(prefix), stream)
        }
    }

    private fun findTop(): String {
        var found: String? = null
        entries { name, _ ->
            if (name == MANIFEST_NAME || name.endsWith("/$MANIFEST_NAME") && name.count { it == '/' } == 1) {
                found = name.removeSuffix(MANIFEST_NAME)
            }
            found == null
        }
        return found ?: throw BundleException("the zip has no $MANIFEST_NAME at its top or in one folder, so it is no bundle. $AGAIN")
    }

    private fun entries(each: (String, InputStream) -> Boolean) = ZipInputStream(open()).use { zip ->
        try {
            var seen = 0
            while (true) {
                val entry = zip.nextEntry ?: break
                if (++seen >
                    MOST_ENTRIES
                ) {
                    throw BundleException("the zip has more than $MOST_ENTRIES entries; a bundle has a few dozen. $AGAIN")
                }
                if (!entry.isDirectory && !each(entry.name, zip)) break
            }
        } catch (error: IllegalArgumentException) {
            throw BundleException("the zip is damaged (an entry's name is no text). $AGAIN", error)
        } catch (error: ZipException) {
            throw BundleException("the zip is damaged (${error.message}). $AGAIN", error)
        } catch (error: EOFException) {
            throw BundleException("the zip is cut off (${error.message}). $AGAIN", error)
        }
    }

    private companion object {
        const val MOST_ENTRIES = 10_000
    }
}
