package dreamlite.executorch

import dreamlite.core.Backend
import dreamlite.core.Bundle
import dreamlite.core.BundleException
import dreamlite.core.Component
import dreamlite.core.ComponentException
import dreamlite.core.ComponentFactory
import dreamlite.core.Fault
import dreamlite.core.HandedDtype
import dreamlite.core.HandedSpec
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
        val chains = bundle.component(name).methods.mapValues { (method, entry) ->
            chainOf("$name.$method of ${bundle.path}", entry) { bundle.file(it).toString() }
        }
        return ExecuTorchComponent("$name of ${bundle.path}", chains, threads)
    }
}

/** One program of a method: where it lies, and what it takes and gives, in call order. */
internal class Program(val path: String, val takes: List<HandedSpec>, val gives: List<HandedSpec>)

/** A method as it is run: each of its programs takes what it needs of the method's inputs and of what those before it gave. */
internal class Chain(val entry: MethodEntry, val programs: List<Program>)

/** [path] tells where a file of the bundle lies. BundleException for several programs that do not say what they hand on. */
internal fun chainOf(where: String, entry: MethodEntry, path: (String) -> String): Chain {
    if (entry.then.isEmpty()) {
        return Chain(entry, listOf(Program(path(entry.file), entry.inputs.map(::handed), entry.outputs.map(::handed))))
    }
    if (entry.shards.isEmpty()) {
        throw BundleException("$where: cut into ${entry.then.size + 1} programs, without what they hand on. Export the bundle again.")
    }
    val files = listOf(entry.file) + entry.then
    return Chain(entry, files.zip(entry.shards) { file, shard -> Program(path(file), shard.inputs, shard.outputs) })
}

private fun handed(spec: TensorSpec) = HandedSpec(spec.name, HandedDtype.FLOAT32, spec.shape)

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
 * Memory-mapped `.pte` files whose methods follow the manifest; output buffers are allocated once and reused.
 *
 * One method is loaded at a time, with all its programs: each has packed weights of its own, and the runtime cannot unload
 * one. What programs hand on stays in the tensor that the one before gave.
 */
public class ExecuTorchComponent internal constructor(
    private val where: String,
    private val chains: Map<String, Chain>,
    private val threads: Int,
) : Component {
    private val modules = ArrayList<Module>()
    private val bound = HashMap<String, Bound>()
    private val outputs = HashMap<String, Map<String, FloatBuffer>>()
    private var resident: String? = null

    /** Input values over the buffers they were made for. */
    private class Bound(val buffers: List<FloatBuffer>, val values: Map<String, EValue>)

    override fun load(method: String) {
        if (method == resident) return
        val chain = find(method)
        unload()
        for (program in chain.programs) open(program, method)
        resident = method
    }

    override fun run(method: String, inputs: Map<String, FloatBuffer>): Map<String, FloatBuffer> {
        load(method)
        val chain = find(method)
        val values = HashMap(bind(method, chain.entry, inputs))
        chain.programs.forEachIndexed { index, program ->
            val given = Array(program.takes.size) { values.getValue(program.takes[it].name) }
            val results = translated("$method${placeOf(index, chain)} failed to run") { modules[index].execute(method, *given) }
            check(method, program, results)
            program.gives.forEachIndexed { at, spec -> values[spec.name] = results[at] }
        }
        val targets = outputs.getOrPut(method) { chain.entry.outputs.associate { it.name to floatBuffer(it.count) } }
        for ((name, target) in targets) {
            target.clear()
            values.getValue(name).toTensor().copyDataInto(target)
            target.clear()
        }
        return targets
    }

    override fun close() {
        bound.clear()
        outputs.clear()
        unload()
    }

    private fun open(program: Program, method: String) {
        val opened = translated("cannot be opened") { Module.load(program.path, Module.LOAD_MODE_MMAP, threads) }
        modules += opened
        val known = translated("cannot be read") { opened.getMethods() }
        if (method !in known) {
            throw ComponentException(
                Fault.BAD_PROGRAM,
                "$where: the program has only ${known.sorted().joinToString()}, not $method. Export the bundle again.",
            )
        }
        translated("$method cannot be loaded") { opened.loadMethod(method) }
    }

    private fun unload() {
        val opened = modules.toList()
        modules.clear()
        resident = null
        opened.forEach { it.close() }
    }

    private fun bind(method: String, entry: MethodEntry, inputs: Map<String, FloatBuffer>): Map<String, EValue> {
        val last = bound[method]
        if (last != null && entry.inputs.indices.all { last.buffers[it] === inputs[entry.inputs[it].name] }) return last.values
        checkInputs("$where.$method", entry, inputs)
        val buffers = entry.inputs.map { inputs.getValue(it.name) }
        val values = entry.inputs.zip(buffers) { spec, buffer -> spec.name to EValue.from(Tensor.fromBlob(buffer, shape(spec.shape))) }
        return Bound(buffers, values.toMap()).also { bound[method] = it }.values
    }

    private fun check(method: String, program: Program, results: Array<EValue>) {
        if (results.size != program.gives.size) {
            throw ComponentException(
                Fault.BAD_PROGRAM,
                "$where.$method: gave ${results.size} outputs, the manifest lists ${program.gives.size}. Export the bundle again.",
            )
        }
        program.gives.forEachIndexed { index, spec ->
            val (tensor, dtype) = results[index].toTensor() to if (spec.dtype == HandedDtype.FLOAT32) DType.FLOAT else DType.HALF
            if (tensor.dtype() != dtype || !tensor.shape().contentEquals(shape(spec.shape))) {
                val found = "${tensor.dtype()} ${tensor.shape().asList()}"
                throw ComponentException(
                    Fault.BAD_PROGRAM,
                    "$where.$method: output '${spec.name}' is $found, expected $dtype ${spec.shape}. Export the bundle again.",
                )
            }
        }
    }

    private fun placeOf(index: Int, chain: Chain) = chain.programs.size.let { if (it == 1) "" else " (program ${index + 1} of $it)" }

    private fun shape(sides: List<Int>) = LongArray(sides.size) { sides[it].toLong() }

    private fun find(method: String): Chain = chains[method]
        ?: throw ComponentException(Fault.BAD_PROGRAM, "$where: unknown method '$method'; known: ${chains.keys.sorted().joinToString()}")

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
