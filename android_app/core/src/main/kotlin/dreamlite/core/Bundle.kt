package dreamlite.core

import java.io.IOException
import java.nio.file.Files
import java.nio.file.LinkOption.NOFOLLOW_LINKS
import java.nio.file.Path
import java.security.MessageDigest
import kotlin.io.path.PathWalkOption
import kotlin.io.path.walk

/** Told how many bytes were hashed since the last call. */
public fun interface HashProgress {
    public fun advance(bytes: Long)
}

/** An opened bundle: a folder with `manifest.json`, its digest and exactly the files it lists. */
public class Bundle private constructor(public val path: Path, public val manifest: Manifest) {
    /** Where a file that the manifest lists lies. */
    public fun file(relative: String): Path {
        if (relative !in manifest.files) throw BundleException("$path: ${unknownName("file", relative, manifest.files.keys)}")
        return path.resolve(relative)
    }

    /** What the manifest says of a component. */
    public fun component(name: String): ComponentEntry = manifest.components[name]
        ?: throw BundleException("$path: ${unknownName("component", name, manifest.components.keys)}")

    /** Refuses a mode that the bundle cannot run from prompt to picture. */
    public fun require(mode: Mode) {
        if (mode !in manifest.modes) {
            val known = manifest.modes.joinToString { it.key }
            throw BundleException("$path: made for $known, not for ${mode.key}. Export it again with --modes generate,edit.")
        }
        manifest.requireComponents(mode, path.toString())
    }

    public companion object {
        private const val MANIFEST_LIMIT = 8L shl 20

        /**
         * Checks a bundle and opens it. Without [hashes] the digests of the files are not compared, only their names
         * and sizes; the manifest's own digest always is.
         *
         * @throws BundleException listing everything that is wrong.
         */
        public fun open(path: Path, hashes: Boolean = true, progress: HashProgress? = null): Bundle {
            val manifest = readManifestOf(path)
            val problems = fileProblems(path, manifest, hashes, progress)
            if (problems.isNotEmpty()) throw BundleException("$path: ${problems.joinToString("; ")}. $AGAIN")
            return Bundle(path, manifest)
        }

        /** Parses and validates the manifest of a bundle folder, without looking at the other files. */
        public fun readManifestOf(path: Path): Manifest {
            val raw = plainBytes(path, MANIFEST_NAME)
            val digest = plainBytes(path, DIGEST_NAME)
            if (!digest.contentEquals("${sha256(raw)}  $MANIFEST_NAME\n".toByteArray())) {
                checkReadable(raw)
                throw BundleException("$path: the digest in $DIGEST_NAME is another: the manifest was changed after export. $AGAIN")
            }
            return readManifest(raw)
        }

        /** A newer schema is named as such even where its digest is kept otherwise. */
        private fun checkReadable(raw: ByteArray) {
            try {
                readManifest(raw)
            } catch (error: BundleException) {
                if ("schema version" in error.message.orEmpty() || "not valid JSON" in error.message.orEmpty()) throw error
            }
        }

        private fun plainBytes(folder: Path, name: String): ByteArray {
            val where = folder.resolve(name)
            try {
                if (!Files.isDirectory(folder)) {
                    throw BundleException("$folder: no such folder. Name a folder that `dreamlite export` made.")
                }
                if (!Files.exists(where, NOFOLLOW_LINKS)) {
                    throw BundleException("$folder: has no $name, so it is not a whole bundle. $AGAIN")
                }
                if (!Files.isRegularFile(where, NOFOLLOW_LINKS)) throw BundleException("$where: not a plain file. $AGAIN")
                val size = Files.size(where)
                if (size > MANIFEST_LIMIT) throw BundleException("$where: $size bytes, expected at most $MANIFEST_LIMIT. $AGAIN")
                return Files.readAllBytes(where)
            } catch (error: IOException) {
                throw BundleException("$where: cannot be read: $error", error)
            }
        }
    }
}

/** The SHA-256 of some bytes, in lower-case hexadecimal. */
public fun sha256(bytes: ByteArray): String = hex(MessageDigest.getInstance("SHA-256").digest(bytes))

/** The SHA-256 of a file, read in pieces. */
public fun sha256(file: Path, progress: HashProgress? = null): String {
    val digest = MessageDigest.getInstance("SHA-256")
    val piece = ByteArray(1 shl 20)
    Files.newInputStream(file).use { stream ->
        while (true) {
            val count = stream.read(piece)
            if (count < 0) return hex(digest.digest())
            digest.update(piece, 0, count)
            progress?.advance(count.toLong())
        }
    }
}

internal fun hex(bytes: ByteArray) = bytes.joinToString("") { "%02x".format(it) }

/** Everything in the folder that differs from the manifest's list: names, kinds, sizes and, if asked, digests. */
internal fun fileProblems(folder: Path, manifest: Manifest, hashes: Boolean, progress: HashProgress?): List<String> = try {
    val found = folder.walk(PathWalkOption.INCLUDE_DIRECTORIES).filter { it != folder }
        .associateBy { folder.relativize(it).joinToString("/") }
    strangers(manifest, found) + manifest.files.toSortedMap().mapNotNull { (path, entry) ->
        entryProblem(found[path], entry, hashes, progress)?.let { "file '$path' $it" }
    }
} catch (error: IOException) {
    listOf("cannot be read: $error")
}

private fun strangers(manifest: Manifest, found: Map<String, Path>): List<String> {
    val files = manifest.files.keys + setOf(MANIFEST_NAME, DIGEST_NAME)
    val folders = manifest.files.keys.flatMap(::parents).toSet()
    return found.toSortedMap().mapNotNull { (name, path) ->
        when {
            Files.isSymbolicLink(path) -> "'$name' is a symbolic link; a bundle holds plain files only"
            Files.isDirectory(path) -> if (name in folders) null else "folder '$name' is not part of the bundle; remove it"
            name !in files -> "file '$name' is not in the manifest; remove it"
            else -> null
        }
    }
}

private fun entryProblem(path: Path?, entry: FileEntry, hashes: Boolean, progress: HashProgress?): String? {
    if (path == null) return "is missing"
    if (!Files.isRegularFile(path, NOFOLLOW_LINKS)) return "is not a plain file"
    val size = Files.size(path)
    if (size != entry.bytes) return "has $size bytes, expected ${entry.bytes}"
    if (!hashes) return null
    val digest = sha256(path, progress)
    return if (digest == entry.sha256) null else "has sha256 $digest, expected ${entry.sha256}"
}
