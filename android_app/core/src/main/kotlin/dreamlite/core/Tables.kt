package dreamlite.core

import java.io.IOException
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import java.nio.file.Path
import java.nio.file.StandardOpenOption

/** Token embeddings [rows, columns], memory-mapped, looked up as float32. */
public class EmbeddingTable(path: Path, private val entry: EmbeddingsEntry) {
    private val bytes = map(path, entry.nbytes)
    private val halves = bytes.asShortBuffer()
    private val floats = bytes.asFloatBuffer()

    /** Writes one row for each id from the start of [target]. PromptException for an id outside the table. */
    public fun lookup(ids: IntArray, target: FloatBuffer) {
        val width = entry.columns
        val row = FloatArray(width)
        val stored = ShortArray(width)
        val codes = ByteArray(width)
        val position = target.duplicate().apply { clear() }
        for (id in ids) {
            if (id !in 0 until entry.rows) {
                throw PromptException(
                    "token id $id is outside the embedding table of ${entry.rows} rows: the tokenizer does not belong to this model",
                )
            }
            when (entry.dtype) {
                TableDtype.FLOAT32 -> read(id * width, row)
                TableDtype.INT8 -> read(id, codes, row)
                TableDtype.BFLOAT16, TableDtype.FLOAT16 -> read(id * width, stored, row)
            }
            position.put(row)
        }
    }

    private fun read(first: Int, row: FloatArray) {
        floats.duplicate().apply { position(first) }.get(row)
    }

    private fun read(id: Int, codes: ByteArray, row: FloatArray) {
        bytes.duplicate().apply { position(id * codes.size) }.get(codes)
        val scale = bytes.getFloat(entry.rows * entry.columns + id * Float.SIZE_BYTES)
        for (at in row.indices) row[at] = codes[at] * scale
    }

    private fun read(first: Int, stored: ShortArray, row: FloatArray) {
        halves.duplicate().apply { position(first) }.get(stored)
        if (entry.dtype == TableDtype.BFLOAT16) {
            for (at in row.indices) row[at] = Float.fromBits(stored[at].toInt() shl Short.SIZE_BITS)
        } else {
            for (at in row.indices) row[at] = halfToFloat(stored[at].toInt() and 0xFFFF)
        }
    }
}

/** The embedding of every step of every schedule of 1 to 50 steps, memory-mapped. */
public class StepEmbeddings(path: Path, private val entry: StepTable) {
    private val floats = map(path, entry.nbytes).asFloatBuffer()

    /** Writes the row of step [index] (from 0) of a schedule of [steps] from the start of [target]. */
    public fun row(steps: Int, index: Int, target: FloatBuffer) {
        val first = (steps * (steps - 1) / 2 + index) * entry.columns
        for (column in 0 until entry.columns) target.put(column, floats.get(first + column))
    }
}

/** IEEE 754 half precision to single, exactly. */
internal fun halfToFloat(bits: Int): Float {
    val sign = bits and 0x8000 shl 16
    val exponent = bits ushr 10 and 0x1F
    val fraction = bits and 0x3FF
    return when (exponent) {
        0 -> Float.fromBits(sign or (fraction * SMALLEST_HALF).toRawBits())
        0x1F -> Float.fromBits(sign or 0x7F800000 or (fraction shl 13))
        else -> Float.fromBits(sign or (exponent + 112 shl 23) or (fraction shl 13))
    }
}

private const val SMALLEST_HALF = 5.9604645e-8f

private fun map(path: Path, expected: Long): MappedByteBuffer = try {
    FileChannel.open(path, StandardOpenOption.READ).use { channel ->
        val found = channel.size()
        if (found != expected) throw BundleException("$path: $found bytes, expected $expected. $AGAIN")
        if (expected > Int.MAX_VALUE) throw BundleException("$path: $expected bytes; a table of 2 GiB or more is not supported on a phone")
        channel.map(FileChannel.MapMode.READ_ONLY, 0, expected).apply { order(ByteOrder.LITTLE_ENDIAN) }
    }
} catch (error: IOException) {
    throw BundleException("$path: cannot be read: $error. $AGAIN", error)
}
