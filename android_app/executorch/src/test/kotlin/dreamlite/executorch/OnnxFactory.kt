package dreamlite.executorch

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import dreamlite.core.Bundle
import dreamlite.core.Component
import dreamlite.core.ComponentFactory
import dreamlite.core.checkInputs
import java.nio.FloatBuffer

/** The second opinion: the same components as ONNX models, run by onnxruntime. */
object OnnxFactory : ComponentFactory {
    private val environment = OrtEnvironment.getEnvironment()

    override fun open(bundle: Bundle, name: String): Component = object : Component {
        private val methods = bundle.component(name).methods
        private val sessions = HashMap<String, OrtSession>()

        override fun load(method: String) {
            sessions.getOrPut(method) {
                val options = OrtSession.SessionOptions().apply { setIntraOpNumThreads(1) }
                environment.createSession(bundle.file(methods.getValue(method).file).toString(), options)
            }
        }

        override fun run(method: String, inputs: Map<String, FloatBuffer>): Map<String, FloatBuffer> {
            load(method)
            val entry = methods.getValue(method)
            checkInputs(name, entry, inputs)
            val tensors = entry.inputs.associate { spec ->
                val shape = LongArray(spec.shape.size) { spec.shape[it].toLong() }
                spec.name to OnnxTensor.createTensor(environment, inputs.getValue(spec.name), shape)
            }
            try {
                sessions.getValue(method).run(tensors).use { results ->
                    return entry.outputs.associate { it.name to (results.get(it.name).get() as OnnxTensor).floatBuffer }
                }
            } finally {
                tensors.values.forEach { it.close() }
            }
        }

        override fun close() {
            sessions.values.forEach { it.close() }
            sessions.clear()
        }
    }
}
