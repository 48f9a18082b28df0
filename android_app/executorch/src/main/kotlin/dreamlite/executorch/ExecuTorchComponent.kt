package dreamlite.executorch

import dreamlite.core.Backend
import dreamlite.core.Bundle
import dreamlite.core.BundleException
import dreamlite.core.Component
import dreamlite.core.ComponentException
import dreamlite.core.ComponentFactory
import dreamlite.core.Fault
import dreamlite.core.Manifest
import dreamlite.core.MethodEntry
import dreamlite.core.TensorSpec
import dreamlite.core.checkInputs
import dreamlite.core.floatBuffer
import org.pytorch.executorch.DType
import org.pytorch.executorch.EValue
import org.pytorch.executorch.ExecutorchRuntimeException
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import java.nio.FloatBuffer

/** What runs here: the ExecuTorch that the app was built with, this phone's chip, and its QNN runtime if it has one. */
public data class Runtime(val executorch: String, val soc: String?, val qnn: String?)

/** Components of XNNPACK and QNN bundles. [threads] 0 leaves the choice to the runtime. */
public class ExecuTorchFactory(private val runtime: Runtime, private val threads: Int = 0) : ComponentFactory {
    override fun open(bundle: Bundle, name: String): Component {
        checkRuntime(bundle.manifest, runtime)
        val entry = bundle.component(name)
        entry.methods.values.firstOrNull { it.then.isNotEmpty() }?.let {
            throw BundleException(
                "this bundle: $name is cut into ${it.then.size + 1} programs, which this app does not run yet. Export it with --shards 1.",
            )
        }
        val file = entry.methods.values.first().file
        return ExecuTorchComponent("$name of ${bundle.path}", bundle.file(file).toString(), entry.methods, threads)
    }
}

/**
 * Refuses a bundle that this app or phone cannot run, before anything of it is copied or loaded.
 *
 * @throws BundleException made for another backend or another ExecuTorch.
 * @throws ComponentException [Fault.WRONG_SOC] or [Fault.QNN_TOO_OLD].
 */
public fun checkRuntime(manifest: Manifest, runtime: Runtime) {
    if (manifest.backend != Backend.XNNPACK && manifest.backend != Backend.QNN) {
        throw BundleException(
            "this bundle: made for ${manifest.backend.key}; this app runs xnnpack and qnn. Export it with --backend xnnpack.",
        )
    }
    if (manifest.needs.executorch != runtime.executorch) {
        throw BundleException(
            "this bundle: compiled for executorch ${manifest.needs.executorch}, this app has ${runtime.executorch}. Export the bundle again, or install the app that matches.",
        )
    }
    val chip = manifest.htp ?: return
    if (runtime.soc != null && runtime.soc != chip.soc) {
        throw ComponentException(
            Fault.WRONG_SOC,
            "this bundle: compiled for ${chip.soc}, this phone has ${runtime.soc}. Get the bundle for ${runtime.soc}, or one for xnnpack.",
        )
    }
    val needed = manifest.needs.qnn ?: return
    if (runtime.qnn == null || isOlder(runtime.qnn, needed)) {
        throw ComponentException(
            Fault.QNN_TOO_OLD,
            "this bundle: needs QNN $needed or newer, this app has ${runtime.qnn ?: "none"}. Install the app built with it.",
        )
    }
}

internal fun isOlder(found: String, needed: String): Boolean {
    val (a, b) = listOf(found, needed).map { version -> version.split('.').map { it.toIntOrNull() ?: 0 } }
    for (index in 0 until maxOf(a.size, b.size)) {
        val difference = a.getOrElse(index) { 0 } - b.getOrElse(index) { 0 }
        if (difference != 0) return difference < 0
    }
    return false
}

/**
 * One memory-mapped `.pte` whose methods follow the manifest; output buffers are allocated once and reused.
 *
 * One method is loaded at a time: each has packed weights of its own, and the runtime cannot unload one.
 */
public class ExecuTorchComponent internal constructor(
    private val where: String,
    private val path: String,
    private val methods: Map<String, MethodEntry>,
    private val threads: Int,
) : Component {
    private var module: Module? = null
    private val bound = HashMap<String, Bound>()
    private val outputs = HashMap<String, Map<String, FloatBuffer>>()
    private var resident: String? = null

    /** Input values over the buffers they were made for. */
    private class Bound(val buffers: List<FloatBuffer>, val values: Array<EValue>)

    override fun load(method: String) {
        if (method == resident) return
        find(method)
        if (resident != null) unload()
        val opened = module ?: translated("cannot be opened") { Module.load(path, Module.LOAD_MODE_MMAP, threads) }.also { module = it }
        val known = translated("cannot be read") { opened.getMethods() }
        if (method !in known) {
            throw ComponentException(
                Fault.BAD_PROGRAM,
                "$where: the program has only ${known.sorted().joinToString()}, not $method. Export the bundle again.",
            )
        }
        translated("$method cannot be loaded") { opened.loadMethod(method) }
        resident = method
    }

    override fun run(method: String, inputs: Map<String, FloatBuffer>): Map<String, FloatBuffer> {
        load(method)
        val entry = find(method)
        val values = bind(method, entry, inputs)
        val results = translated("$method failed to run") { module!!.execute(method, *values) }
        if (results.size != entry.outputs.size) {
            throw ComponentException(
                Fault.BAD_PROGRAM,
                "$where.$method: gave ${results.size} outputs, the manifest lists ${entry.outputs.size}. Export the bundle again.",
            )
        }
        val targets = outputs.getOrPut(method) { entry.outputs.associate { it.name to floatBuffer(it.count) } }
        entry.outputs.forEachIndexed { index, spec -> copy(method, results[index], spec, targets.getValue(spec.name)) }
        return targets
    }

    override fun close() {
        bound.clear()
        outputs.clear()
        unload()
    }

    private fun unload() {
        val opened = module
        module = null
        resident = null
        opened?.close()
    }

    private fun bind(method: String, entry: MethodEntry, inputs: Map<String, FloatBuffer>): Array<EValue> {
        val last = bound[method]
        if (last != null && entry.inputs.indices.all { last.buffers[it] === inputs[entry.inputs[it].name] }) return last.values
        checkInputs("$where.$method", entry, inputs)
        val buffers = entry.inputs.map { inputs.getValue(it.name) }
        val values = Array(buffers.size) { EValue.from(Tensor.fromBlob(buffers[it], shape(entry.inputs[it]))) }
        bound[method] = Bound(buffers, values)
        return values
    }

    private fun copy(method: String, value: EValue, spec: TensorSpec, target: FloatBuffer) {
        val tensor = value.toTensor()
        if (tensor.dtype() != DType.FLOAT || !tensor.shape().contentEquals(shape(spec))) {
            val found = "${tensor.dtype()} ${tensor.shape().toList()}"
            throw ComponentException(
                Fault.BAD_PROGRAM,
                "$where.$method: output '${spec.name}' is $found, expected FLOAT ${spec.shape}. Export the bundle again.",
            )
        }
        target.clear()
        tensor.copyDataInto(target)
        target.clear()
    }

    private fun shape(spec: TensorSpec) = LongArray(spec.shape.size) { spec.shape[it].toLong() }

    private fun find(method: String): MethodEntry = methods[method]
        ?: throw ComponentException(Fault.BAD_PROGRAM, "$where: unknown method '$method'; known: ${methods.keys.sorted().joinToString()}")

    private inline fun <T> translated(what: String, work: () -> T): T = try {
        work()
    } catch (error: ExecutorchRuntimeException) {
        val fault = faultOf(error.errorCode)
        throw ComponentException(fault, "$where: $what: ${error.message} ${mendOf(fault)}", error)
    } catch (error: OutOfMemoryError) {
        throw ComponentException(Fault.OUT_OF_MEMORY, "$where: $what: out of memory. ${mendOf(Fault.OUT_OF_MEMORY)}", error)
    } catch (error: RuntimeException) {
        throw ComponentException(Fault.OTHER, "$where: $what: $error", error)
    }
}

/** ExecuTorch's error numbers (`runtime/core/error.h`) as causes that an app can name. */
internal fun faultOf(code: Int): Fault = when (code) {
    ExecutorchRuntimeException.OPERATOR_MISSING, ExecutorchRuntimeException.NOT_FOUND -> Fault.MISSING_OPERATOR
    ExecutorchRuntimeException.MEMORY_ALLOCATION_FAILED,
    ExecutorchRuntimeException.OUT_OF_RESOURCES,
    ExecutorchRuntimeException.DELEGATE_MEMORY_ALLOCATION_FAILED,
    -> Fault.OUT_OF_MEMORY
    ExecutorchRuntimeException.INVALID_PROGRAM,
    ExecutorchRuntimeException.INVALID_EXTERNAL_DATA,
    ExecutorchRuntimeException.ACCESS_FAILED,
    -> Fault.BAD_PROGRAM
    ExecutorchRuntimeException.DELEGATE_INVALID_COMPATIBILITY -> Fault.QNN_TOO_OLD
    else -> Fault.OTHER
}

private fun mendOf(fault: Fault): String = when (fault) {
    Fault.WRONG_SOC -> "Get the bundle for this phone's chip."
    Fault.QNN_TOO_OLD -> "Install the app with the QNN runtime of the bundle's compiler or newer."
    Fault.OUT_OF_MEMORY -> "Close other apps, or use a bundle of a lower precision or smaller size."
    Fault.MISSING_OPERATOR -> "Install the app built with the bundle's backend."
    Fault.BAD_PROGRAM -> "Copy or export the bundle again."
    Fault.OTHER -> ""
}
