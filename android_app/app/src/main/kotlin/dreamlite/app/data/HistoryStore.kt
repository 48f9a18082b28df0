package dreamlite.app.data

import dreamlite.app.model.HistoryEntry
import dreamlite.core.Mode
import dreamlite.core.Picture
import java.io.IOException
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption.ATOMIC_MOVE
import java.util.Properties
import kotlin.io.path.PathWalkOption
import kotlin.io.path.listDirectoryEntries
import kotlin.io.path.walk

/** The pictures drawn here, each a folder of [home]: `entry.properties`, `picture.png`, `thumb.png`, for edits `source.png`. */
class HistoryStore(private val home: Path) {
    /** The newest first. Folders that are not whole are not shown. */
    fun list(): List<HistoryEntry> {
        if (!Files.isDirectory(home)) return emptyList()
        val folders = home.listDirectoryEntries().filter { !it.fileName.toString().endsWith(PART) }
        return folders.mapNotNull(::read).sortedByDescending { it.created }
    }

    /** Keeps a picture; it is whole or not there. IOException where the disk is full. */
    fun add(entry: HistoryEntry, picture: Picture, source: Picture?) {
        val staging = home.resolve(entry.id + PART)
        try {
            Files.createDirectories(staging)
            Files.write(staging.resolve(PICTURE), Png.encode(picture, texts(entry)))
            Files.write(staging.resolve(THUMB), Png.encode(thumb(picture)))
            if (source != null) Files.write(staging.resolve(SOURCE), Png.encode(source))
            Files.newBufferedWriter(staging.resolve(ENTRY)).use { properties(entry).store(it, null) }
            Files.move(staging, home.resolve(entry.id), ATOMIC_MOVE)
        } catch (error: IOException) {
            clear(staging)
            throw error
        }
    }

    /** Nothing happens where it is gone already. */
    @Synchronized
    fun delete(id: String) {
        if (!Files.exists(home.resolve(id))) return
        val gone = home.resolve(id + PART)
        Files.move(home.resolve(id), gone, ATOMIC_MOVE)
        clear(gone)
    }

    fun picture(id: String): Path = home.resolve(id).resolve(PICTURE)

    fun thumb(id: String): Path = home.resolve(id).resolve(THUMB)

    /** What an edit changed. */
    fun source(id: String): Path = home.resolve(id).resolve(SOURCE)

    private fun thumb(picture: Picture): Picture {
        val longer = maxOf(picture.width, picture.height)
        if (longer <= THUMB_SIDE) return picture
        return picture.resized(maxOf(1, picture.width * THUMB_SIDE / longer), maxOf(1, picture.height * THUMB_SIDE / longer))
    }

    private fun properties(entry: HistoryEntry) = Properties().apply {
        setProperty("mode", entry.mode.key)
        setProperty("prompt", entry.prompt)
        setProperty("seed", entry.seed.toString())
        setProperty("steps", entry.steps.toString())
        setProperty("width", entry.width.toString())
        setProperty("height", entry.height.toString())
        setProperty("bundle", entry.bundle)
        setProperty("precision", entry.precision)
        setProperty("created", entry.created.toString())
        setProperty("total", entry.total.toString())
        for ((stage, seconds) in entry.stages) setProperty(STAGE + stage, seconds.toString())
    }

    private fun read(folder: Path): HistoryEntry? = try {
        val found = Properties().apply { Files.newBufferedReader(folder.resolve(ENTRY)).use(::load) }
        fun of(key: String) = requireNotNull(found.getProperty(key)) { key }
        HistoryEntry(
            id = folder.fileName.toString(),
            mode = Mode.entries.single { it.key == of("mode") },
            prompt = of("prompt"),
            seed = of("seed").toULong(),
            steps = of("steps").toInt(),
            width = of("width").toInt(),
            height = of("height").toInt(),
            bundle = of("bundle"),
            precision = of("precision"),
            created = of("created").toLong(),
            stages = found.stringPropertyNames().filter { it.startsWith(STAGE) }.sorted()
                .associate { it.removePrefix(STAGE) to of(it).toDouble() },
            total = of("total").toDouble(),
        )
    } catch (_: IOException) {
        null
    } catch (_: IllegalArgumentException) {
        null
    } catch (_: NoSuchElementException) {
        null
    }

    private fun clear(folder: Path) {
        if (!Files.exists(folder)) return
        folder.walk(PathWalkOption.INCLUDE_DIRECTORIES).toList().sortedDescending().forEach(Files::delete)
    }

    companion object {
        private const val PICTURE = "picture.png"
        private const val THUMB = "thumb.png"
        private const val SOURCE = "source.png"
        private const val ENTRY = "entry.properties"
        private const val PART = ".part"
        private const val STAGE = "stage."
        private const val THUMB_SIDE = 192

        /** What a picture says of itself, also in the gallery. */
        fun texts(entry: HistoryEntry): Map<String, String> = mapOf(
            "Software" to "DreamLite",
            "Description" to entry.prompt,
            "parameters" to "${entry.prompt}\nMode: ${entry.mode.key}, Steps: ${entry.steps}, Seed: ${entry.seed}, " +
                "Size: ${entry.width}x${entry.height}, Model: ${entry.bundle} (${entry.precision})",
        )
    }
}
