package dreamlite.app.data

import dreamlite.app.model.BundleCard
import dreamlite.app.model.PushedBundle
import dreamlite.app.model.Room
import dreamlite.core.Bundle
import dreamlite.core.BundleException
import dreamlite.core.BundleSource
import dreamlite.core.BundleStore
import dreamlite.core.DreamLiteException
import dreamlite.core.FolderSource
import dreamlite.core.MANIFEST_NAME
import dreamlite.core.Manifest
import dreamlite.core.requireComponents
import dreamlite.core.sha256
import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path
import java.util.Properties
import java.util.concurrent.CancellationException
import kotlin.io.path.Path
import kotlin.io.path.listDirectoryEntries

/** Where a bundle is imported from, as it is remembered in case the process dies. */
data class ImportFrom(val kind: Kind, val place: String, val name: String) {
    enum class Kind { TREE, ZIP, PUSHED }
}

/** Thrown into an import to end it; the store then removes what was copied. */
fun importStopped() = BundleException("stopped")

/** Imports into [store] one after the other; the one that goes on is written to [note], so that it can go on later. */
class Imports(
    private val store: BundleStore,
    private val note: Path,
    private val freeStorage: () -> Long,
    private val totalMemory: () -> Long,
    private val check: (Manifest) -> Unit,
    private val source: (ImportFrom) -> BundleSource,
) {
    /** Every bundle that is here and can be read. */
    fun cards(): List<BundleCard> = store.names().mapNotNull { name ->
        try {
            card(name)
        } catch (_: DreamLiteException) {
            null
        }
    }

    /** Of a bundle as it lies there now. */
    fun card(name: String): BundleCard {
        val path = store.path(name)
        return BundleCard.of(name, sha256(path.resolve(MANIFEST_NAME)), Bundle.readManifestOf(path))
    }

    fun path(name: String): Path = store.path(name)

    /** Nothing happens where it is gone already. */
    @Synchronized
    fun delete(name: String) {
        if (name in store.names()) store.delete(name)
    }

    /** An import that a dead process left behind. */
    fun interrupted(): ImportFrom? = try {
        val found = Properties().apply { Files.newBufferedReader(note).use(::load) }
        ImportFrom(ImportFrom.Kind.valueOf(found.getProperty("kind")), found.getProperty("place"), found.getProperty("name"))
    } catch (_: IOException) {
        null
    } catch (_: RuntimeException) {
        null
    }

    /** Frees the storage of imports that failed and are not tried again, and of deletions that were cut off. */
    @Synchronized
    fun clearUnfinished() = store.clearUnfinished(interrupted()?.name)

    /**
     * Copies and checks a bundle. [room] is told before the first byte is copied, [advance] of bytes; what [advance] throws
     * ends the import. The note is gone at the end, but for cancellation and the death of the process: then the next start of
     * the app goes on.
     */
    @Synchronized
    fun run(from: ImportFrom, room: (Room) -> Unit, advance: (Long) -> Unit) {
        remember(from)
        var goesOn = false
        try {
            store.import(source(from), from.name, { manifest -> admit(manifest, room) }, advance)
        } catch (cancelled: CancellationException) {
            goesOn = true
            throw cancelled
        } catch (error: SecurityException) {
            throw BundleException("may not be read any more ($error). Choose it again.", error)
        } finally {
            if (!goesOn) Files.deleteIfExists(note)
        }
    }

    /** Numbers first, then every reason against. */
    private fun admit(manifest: Manifest, room: (Room) -> Unit) {
        val (needed, there) = BundleCard.memoryOf(manifest) to totalMemory()
        room(Room(BundleCard.bytesOf(manifest), freeStorage(), needed, there))
        check(manifest)
        manifest.modes.forEach { manifest.requireComponents(it) }
        if (needed > there) {
            throw BundleException(
                "this bundle: needs ${needed / MEGABYTE} MB of memory even with one component at a time, this phone has " +
                    "${there / MEGABYTE} MB. Use a bundle of a lower precision or smaller size.",
            )
        }
    }

    private fun remember(from: ImportFrom) {
        Files.createDirectories(note.parent)
        val text = Properties().apply {
            setProperty("kind", from.kind.name)
            setProperty("place", from.place)
            setProperty("name", from.name)
        }
        Files.newBufferedWriter(note).use { text.store(it, null) }
    }

    companion object {
        /** Where `dreamlite bench` and `adb push` leave bundles (`dreamlite_mobile/device/places.py`). */
        const val PUSHED = "/data/local/tmp/dreamlite/bundles"
        private const val MEGABYTE = 1_000_000L

        /** Bundles directly in a folder, or none where it cannot be read. */
        fun pushed(folder: Path): List<PushedBundle> = try {
            folder.listDirectoryEntries().filter { Files.isRegularFile(it.resolve(MANIFEST_NAME)) }.sorted()
                .map { PushedBundle(it.toString(), label(it)) }
        } catch (_: IOException) {
            emptyList()
        } catch (_: SecurityException) {
            emptyList()
        }

        private fun label(path: Path): String = try {
            val manifest = Bundle.readManifestOf(path)
            "${manifest.backend.key} ${manifest.sizes.joinToString { "${it.sides}" }}, ${path.fileName}"
        } catch (_: DreamLiteException) {
            path.fileName.toString()
        }

        fun pushedSource(from: ImportFrom): BundleSource = FolderSource(Path(from.place))
    }
}
