package dreamlite.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer

/**
 * One network with named methods: named inputs to named outputs, float32 and row-major, shapes as the manifest says.
 *
 * Not thread-safe. Buffers are direct, in native order, and hold at least the tensor from index 0. What [run] returns
 * belongs to the component and is overwritten by the next [run]; a caller may pass the same input buffers again, and a
 * component may rely on that to bind them once.
 */
public interface Component : AutoCloseable {
    /** Loads a method ahead of its first run. ComponentException where it cannot be. */
    public fun load(method: String)

    /** Runs a method, loading it if need be. ComponentException where it fails. */
    public fun run(method: String, inputs: Map<String, FloatBuffer>): Map<String, FloatBuffer>

    /** Frees everything; the component is not used again. */
    override fun close()
}

/** Makes a component ready to be loaded; knows the backend, as the pipeline does not. */
public fun interface ComponentFactory {
    public fun open(bundle: Bundle, name: String): Component
}

/** A direct buffer in native order for [count] floats. */
public fun floatBuffer(count: Int): FloatBuffer =
    ByteBuffer.allocateDirect(count * Float.SIZE_BYTES).order(ByteOrder.nativeOrder()).asFloatBuffer()

/** Names and sizes of inputs against the manifest; ComponentException listing every difference. */
public fun checkInputs(where: String, method: MethodEntry, inputs: Map<String, FloatBuffer>) {
    var wrong = inputs.size != method.inputs.size
    for (spec in method.inputs) {
        val buffer = inputs[spec.name]
        wrong = wrong || buffer == null || !buffer.isDirect || buffer.capacity() < spec.count
    }
    if (!wrong) return
    val expected = method.inputs.joinToString { "${it.name} [${it.count}]" }
    val found = inputs.entries.joinToString { "${it.key} [${it.value.capacity()}]${if (it.value.isDirect) "" else " not direct"}" }
    throw ComponentException(Fault.OTHER, "$where: inputs are $found; expected direct buffers $expected")
}
