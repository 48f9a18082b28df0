package dreamlite.core

import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption.ATOMIC_MOVE
import java.security.DigestOutputStream
import java.security.MessageDigest
import kotlin.io.path.PathWalkOption
import kotlin.io.path.listDirectoryEntries
import kotlin.io.path.walk

/**
 * The bundles in one folder of the app, each whole: copied to `NAME.part`, hashed while copying, renamed at the end.
 *
 * A process that dies while importing leaves `NAME.part` with the files that were done; importing the same bundle again
 * goes on from there. [freeBytes] tells the room on the disk.
 */
public class BundleStore(private val home: Path, private val freeBytes: () -> Long) {
    /** Names of the bundles that are here. */
    public fun names(): List<String> = if (!Files.isDirectory(home)) {
        emptyList()
    } else {
        home.listDirectoryEntries()
            .filter { Files.isRegularFile(it.resolve(MANIFEST_NAME)) }
            .map { it.fileName.toString() }.filter { NAME.matches(it) }.sorted()
    }

    /** Where a bundle lies. */
    public fun path(name: String): Path {
        if (name !in names()) throw BundleException(unknownName("bundle", name, names()))
        return home.resolve(name)
    }

    /** Removes a bundle. Close its session first. */
    public fun delete(name: String) {
        val gone = home.resolve("$name$PART")
        clear(gone)
        Files.move(path(name), gone, ATOMIC_MOVE)
        clear(gone)
    }

    /** Removes what unfinished imports and deletions left, but for the import of [kept], which will go on. None may be going on. */
    public fun clearUnfinished(kept: String?) {
        if (!Files.isDirectory(home)) return
        home.listDirectoryEntries("*$PART").filter { it.fileName.toString() != "$kept$PART" }.forEach(::clear)
    }

    /**
     * Copies a bundle here under [name], which must be free. [check] judges its manifest before anything is copied
     * (chip, memory); [progress] is told of bytes.
     *
     * @throws BundleException not a bundle, another file than its manifest lists, too little room; nothing is left of it.
     * @throws IOException the source cannot be read; what was copied stays for the next try.
     */
    public fun import(source: BundleSource, name: String, check: (Manifest) -> Unit = {}, progress: HashProgress? = null): Path {
        if (!NAME.matches(name)) throw BundleException("bundle name '$name': use letters, digits, '_' and '-', at most 60")
        if (Files.exists(home.resolve(name))) {
            throw BundleException("a bundle '$name' is here already. Delete it first, or choose another name.")
        }
        val head = readHead(source)
        check(head.manifest)
        val staging = home.resolve("$name$PART")
        try {
            copy(source, head, prepared(staging, head), progress)
        } catch (error: BundleException) {
            clear(staging)
            throw error
        }
        return Files.move(staging, home.resolve(name), ATOMIC_MOVE)
    }

    private class Head(val raw: ByteArray, val digest: ByteArray, val manifest: Manifest)

    private fun readHead(source: BundleSource): Head {
        val found = HashMap<String, ByteArray>()
        source.read { name, stream ->
            if (name == MANIFEST_NAME || name == DIGEST_NAME) found[name] = limited(name, stream)
            found.size < 2
        }
        val raw = found[MANIFEST_NAME] ?: throw BundleException("has no $MANIFEST_NAME, so it is no bundle. $AGAIN")
        val digest = found[DIGEST_NAME] ?: throw BundleException("has no $DIGEST_NAME, so it is not whole. $AGAIN")
        val manifest = readManifest(raw)
        if (!digest.contentEquals("${sha256(raw)}  $MANIFEST_NAME\n".toByteArray())) {
            throw BundleException("the digest in $DIGEST_NAME is another: the manifest was changed after export. $AGAIN")
        }
        return Head(raw, digest, manifest)
    }

    private fun limited(name: String, stream: InputStream): ByteArray {
        val bytes = ByteArrayOutputStream()
        val piece = ByteArray(PIECE)
        while (true) {
            val count = stream.read(piece)
            if (count < 0) return bytes.toByteArray()
            bytes.write(piece, 0, count)
            if (bytes.size() > MOST_HEAD) throw BundleException("$name holds more than $MOST_HEAD bytes. $AGAIN")
        }
    }

    /** The staging folder: with what an earlier try of the same bundle left in it, else empty. */
    private fun prepared(staging: Path, head: Head): Path {
        val manifest = staging.resolve(MANIFEST_NAME)
        if (!Files.isRegularFile(manifest) || !Files.readAllBytes(manifest).contentEquals(head.raw)) clear(staging)
        val left = head.manifest.files.filter { (name, entry) -> !isDone(staging.resolve(name), entry) }.values.sumOf { it.bytes }
        val (needed, free) = left + MARGIN to freeBytes()
        if (needed > free) {
            throw BundleException(
                "needs ${needed / MEGABYTE} MB of storage, ${free / MEGABYTE} MB are free. Delete a bundle or other files.",
            )
        }
        writeOrRefuse {
            Files.createDirectories(staging)
            Files.write(manifest, head.raw)
            Files.write(staging.resolve(DIGEST_NAME), head.digest)
        }
        return staging
    }

    private fun copy(source: BundleSource, head: Head, staging: Path, progress: HashProgress?) {
        val missing = head.manifest.files.keys.toMutableSet()
        source.read { name, stream ->
            val entry = head.manifest.files[name]
            when {
                name == MANIFEST_NAME || name == DIGEST_NAME -> Unit
                entry == null -> throw BundleException("file '$name' is not in the manifest; remove it")
                !missing.remove(name) -> throw BundleException("file '$name' comes twice. $AGAIN")
                isDone(staging.resolve(name), entry) -> progress?.advance(entry.bytes)
                else -> copyFile(name, stream, entry, staging.resolve(name), progress)
            }
            true
        }
        if (missing.isNotEmpty()) throw BundleException("lacks ${missing.sorted().joinToString { "'$it'" }}. $AGAIN")
    }

    /** A file has its name only after its bytes were found right. */
    private fun copyFile(name: String, stream: InputStream, entry: FileEntry, target: Path, progress: HashProgress?) {
        Files.createDirectories(target.parent)
        // With a dot in front, which no path of a manifest has: it is never another file's name.
        val part = target.resolveSibling(".${target.fileName}$PART")
        val digest = MessageDigest.getInstance("SHA-256")
        var size = 0L
        DigestOutputStream(Files.newOutputStream(part), digest).use { out ->
            val piece = ByteArray(PIECE)
            while (true) {
                val count = stream.read(piece)
                if (count < 0) break
                size += count
                if (size >
                    entry.bytes
                ) {
                    throw BundleException("file '$name' holds more than the ${entry.bytes} bytes of the manifest. $AGAIN")
                }
                writeOrRefuse { out.write(piece, 0, count) }
                progress?.advance(count.toLong())
            }
        }
        val found = hex(digest.digest())
        if (size != entry.bytes) throw BundleException("file '$name' has $size bytes, expected ${entry.bytes}. $AGAIN")
        if (found != entry.sha256) throw BundleException("file '$name' has sha256 $found, expected ${entry.sha256}. $AGAIN")
        Files.move(part, target, ATOMIC_MOVE)
    }

    /** A disk that fills up is a refusal: what was copied goes, so that it does not stay full. */
    private fun writeOrRefuse(write: () -> Unit) = try {
        write()
    } catch (error: IOException) {
        throw BundleException(
            "cannot be written (${error.message}); ${freeBytes() / MEGABYTE} MB are free. Delete a bundle or other files.",
            error,
        )
    }

    private fun isDone(path: Path, entry: FileEntry) = Files.isRegularFile(path) && Files.size(path) == entry.bytes

    private fun clear(folder: Path) {
        if (!Files.exists(folder)) return
        folder.walk(PathWalkOption.INCLUDE_DIRECTORIES).toList().sortedDescending().forEach(Files::delete)
    }

    private companion object {
        val NAME = Regex("[A-Za-z0-9_-]{1,60}")
        const val PART = ".part"
        const val PIECE = 1 shl 18
        const val MOST_HEAD = 8 shl 20
        const val MARGIN = 64L shl 20
        const val MEGABYTE = 1_000_000L
    }
}
