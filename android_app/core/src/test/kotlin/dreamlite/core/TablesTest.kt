package dreamlite.core

import org.junit.jupiter.api.io.TempDir
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.file.Files
import java.nio.file.Path
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertFailsWith

/** Oracle: the definition of the table; rows of numbers, then one scale for each row. */
class TablesTest {
    @TempDir
    lateinit var folder: Path

    private val entry = EmbeddingsEntry("table", rows = 3, columns = 2, dtype = TableDtype.INT8)

    private fun table(bytes: Int): EmbeddingTable {
        val content = ByteBuffer.allocate(18).order(ByteOrder.LITTLE_ENDIAN)
        content.put(byteArrayOf(1, 2, -127, 127, 0, -3))
        for (scale in listOf(0.5f, 0.1f, 2f)) content.putFloat(scale)
        val file = folder.resolve("table")
        Files.write(file, content.array().copyOf(bytes))
        return EmbeddingTable(file, entry)
    }

    @Test
    fun `rows of int8 are multiplied by their scale`() {
        val found = FloatArray(6)
        table(18).lookup(intArrayOf(1, 2, 0), FloatBuffer.wrap(found))
        assertContentEquals(floatArrayOf(-127 * 0.1f, 127 * 0.1f, 0f, -6f, 0.5f, 1f), found)
    }

    @Test
    fun `a table of int8 without its scales is refused`() {
        assertFailsWith<BundleException> { table(6) }
    }
}
