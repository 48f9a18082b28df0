package dreamlite.executorch

import org.pytorch.executorch.DType
import org.pytorch.executorch.EValue
import org.pytorch.executorch.ExecutorchRuntimeException
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import java.io.Closeable
import java.lang.reflect.Modifier
import java.nio.FloatBuffer
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/**
 * What `ExecuTorchComponent` calls has the signatures of ExecuTorch 1.5's Android library, as its Kotlin sources
 * (`extension/android`) compile to: the stand-ins on the host must not be kinder than the real classes.
 */
class ApiTest {
    private fun method(owner: Class<*>, name: String, result: Class<*>, vararg parameters: Class<*>, static: Boolean = false) {
        val found = owner.getMethod(name, *parameters)
        assertEquals(result, found.returnType, "$owner.$name")
        assertEquals(static, Modifier.isStatic(found.modifiers), "$owner.$name")
    }

    @Test
    fun module() {
        method(Module::class.java, "load", Module::class.java, String::class.java, Int::class.java, Int::class.java, static = true)
        method(Module::class.java, "getMethods", Array<String>::class.java)
        method(Module::class.java, "loadMethod", Void.TYPE, String::class.java)
        method(Module::class.java, "execute", Array<EValue>::class.java, String::class.java, Array<EValue>::class.java)
        assertTrue(Closeable::class.java.isAssignableFrom(Module::class.java))
        assertEquals(listOf(0, 1), listOf(Module.LOAD_MODE_FILE, Module.LOAD_MODE_MMAP))
    }

    @Test
    fun tensor() {
        method(Tensor::class.java, "fromBlob", Tensor::class.java, FloatBuffer::class.java, LongArray::class.java, static = true)
        method(Tensor::class.java, "shape", LongArray::class.java)
        method(Tensor::class.java, "dtype", DType::class.java)
        method(Tensor::class.java, "copyDataInto", Void.TYPE, FloatBuffer::class.java)
    }

    @Test
    fun value() {
        method(EValue::class.java, "from", EValue::class.java, Tensor::class.java, static = true)
        method(EValue::class.java, "toTensor", Tensor::class.java)
    }

    @Test
    fun `error numbers`() {
        method(ExecutorchRuntimeException::class.java, "getErrorCode", Int::class.java)
        assertTrue(RuntimeException::class.java.isAssignableFrom(ExecutorchRuntimeException::class.java))
        val numbers = listOf(
            ExecutorchRuntimeException.OPERATOR_MISSING,
            ExecutorchRuntimeException.NOT_FOUND,
            ExecutorchRuntimeException.MEMORY_ALLOCATION_FAILED,
            ExecutorchRuntimeException.ACCESS_FAILED,
            ExecutorchRuntimeException.INVALID_PROGRAM,
            ExecutorchRuntimeException.OUT_OF_RESOURCES,
            ExecutorchRuntimeException.DELEGATE_INVALID_COMPATIBILITY,
            ExecutorchRuntimeException.DELEGATE_MEMORY_ALLOCATION_FAILED,
        )
        assertEquals(listOf(0x14, 0x20, 0x21, 0x22, 0x23, 0x25, 0x30, 0x31), numbers)
    }
}
