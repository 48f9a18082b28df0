package dreamlite.core.bench

import dreamlite.core.ConfigException
import dreamlite.core.sha256
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption.ATOMIC_MOVE
import java.nio.file.StandardOpenOption.CREATE
import java.nio.file.StandardOpenOption.TRUNCATE_EXISTING
import java.nio.file.StandardOpenOption.WRITE
import kotlin.io.path.Path

/**
 * Where one request's answer goes: each file has its name only when it is whole on the disk, `done` comes last.
 *
 * @throws ConfigException the folder lies in none of [roots], or cannot be made.
 */
internal class OutFolder(out: String, roots: List<Path>) {
    private val folder: Path = Path(out).normalize()

    init {
        if (roots.none { folder.startsWith(it.normalize()) && folder != it.normalize() }) {
            throw ConfigException("request.json: out: '$out' lies in none of ${roots.joinToString()}, where this app may write")
        }
        try {
            Files.createDirectories(folder)
            Files.deleteIfExists(folder.resolve(DONE))
        } catch (error: IOException) {
            throw ConfigException("request.json: out: '$out' cannot be written: $error")
        }
    }

    fun picture(png: ByteArray): OutputPicture {
        write(PICTURE, png)
        return OutputPicture(PICTURE, sha256(png))
    }

    /** The result, then its digest as the marker that the host waits for. */
    fun finish(result: RunResult) {
        val bytes = result.toJson().toByteArray()
        write(RESULT, bytes)
        write(DONE, sha256(bytes).toByteArray())
    }

    private fun write(name: String, bytes: ByteArray) {
        val part = folder.resolve("$name.part")
        FileChannel.open(part, CREATE, WRITE, TRUNCATE_EXISTING).use { channel ->
            val left = ByteBuffer.wrap(bytes)
            while (left.hasRemaining()) channel.write(left)
            channel.force(true)
        }
        Files.move(part, folder.resolve(name), ATOMIC_MOVE)
    }

    private companion object {
        const val PICTURE = "picture.png"
        const val RESULT = "result.json"
        const val DONE = "done"
    }
}
