// The native half of org.pytorch.executorch.NativeModule: ExecuTorch's C++ Module behind five functions.
// Errors that ExecuTorch reports by number are thrown as ExecutorchRuntimeException with that number.

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <jni.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

using executorch::aten::ScalarType;
using executorch::extension::from_blob;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::Error;
using executorch::runtime::EValue;

// The wheel carries the library of the thread pool but not its header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t num_threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace {

constexpr const char* kException = "org/pytorch/executorch/ExecutorchRuntimeException";

void fail(JNIEnv* env, Error error, const std::string& details) {
  jclass type = env->FindClass(kException);
  jmethodID make = env->GetMethodID(type, "<init>", "(ILjava/lang/String;)V");
  jstring text = env->NewStringUTF(details.c_str());
  env->Throw(static_cast<jthrowable>(env->NewObject(type, make, static_cast<jint>(error), text)));
}

std::string text_of(JNIEnv* env, jstring text) {
  const char* chars = env->GetStringUTFChars(text, nullptr);
  std::string copy(chars);
  env->ReleaseStringUTFChars(text, chars);
  return copy;
}

Module* module_of(jlong handle) { return reinterpret_cast<Module*>(handle); }

std::vector<executorch::aten::SizesType> sizes_of(JNIEnv* env, jlongArray shape) {
  std::vector<jlong> sides(env->GetArrayLength(shape));
  env->GetLongArrayRegion(shape, 0, static_cast<jsize>(sides.size()), sides.data());
  return {sides.begin(), sides.end()};
}

// {dtype, side, side, ...}
jlongArray header_of(JNIEnv* env, const executorch::aten::Tensor& tensor) {
  std::vector<jlong> values{static_cast<jlong>(tensor.scalar_type())};
  for (auto side : tensor.sizes()) values.push_back(side);
  jlongArray header = env->NewLongArray(static_cast<jsize>(values.size()));
  env->SetLongArrayRegion(header, 0, static_cast<jsize>(values.size()), values.data());
  return header;
}

}  // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_org_pytorch_executorch_NativeModule_open(
    JNIEnv* env, jclass, jstring path, jint mode, jint threads) {
  if (threads > 0) {
    auto* pool = executorch::extension::threadpool::get_threadpool();
    if (pool->get_thread_count() != static_cast<size_t>(threads)) pool->_unsafe_reset_threadpool(threads);
  }
  auto* module = new Module(text_of(env, path), static_cast<Module::LoadMode>(mode));
  Error error = module->load();
  if (error != Error::Ok) {
    delete module;
    fail(env, error, "Failed to load the program");
    return 0;
  }
  return reinterpret_cast<jlong>(module);
}

JNIEXPORT jobjectArray JNICALL Java_org_pytorch_executorch_NativeModule_methods(
    JNIEnv* env, jclass, jlong handle) {
  auto names = module_of(handle)->method_names();
  if (!names.ok()) {
    fail(env, names.error(), "Failed to list methods");
    return nullptr;
  }
  jobjectArray found =
      env->NewObjectArray(static_cast<jsize>(names->size()), env->FindClass("java/lang/String"), nullptr);
  jsize index = 0;
  for (const auto& name : *names) env->SetObjectArrayElement(found, index++, env->NewStringUTF(name.c_str()));
  return found;
}

JNIEXPORT jint JNICALL Java_org_pytorch_executorch_NativeModule_loadMethod(
    JNIEnv* env, jclass, jlong handle, jstring method) {
  return static_cast<jint>(module_of(handle)->load_method(text_of(env, method)));
}

// Inputs: direct buffers, their shapes and dtypes. Result: header, bytes, header, bytes, ... of the outputs; the bytes
// are the module's own memory, to be copied before anything else is called.
JNIEXPORT jobjectArray JNICALL Java_org_pytorch_executorch_NativeModule_execute(
    JNIEnv* env, jclass, jlong handle, jstring method, jobjectArray buffers, jobjectArray shapes, jintArray dtypes) {
  jsize count = env->GetArrayLength(buffers);
  std::vector<jint> types(count);
  env->GetIntArrayRegion(dtypes, 0, count, types.data());
  std::vector<TensorPtr> tensors;
  std::vector<EValue> inputs;
  for (jsize index = 0; index < count; ++index) {
    void* data = env->GetDirectBufferAddress(env->GetObjectArrayElement(buffers, index));
    auto shape = static_cast<jlongArray>(env->GetObjectArrayElement(shapes, index));
    tensors.push_back(from_blob(data, sizes_of(env, shape), static_cast<ScalarType>(types[index])));
    inputs.emplace_back(*tensors.back());
  }
  auto result = module_of(handle)->execute(text_of(env, method), inputs);
  if (!result.ok()) {
    fail(env, result.error(), "Execution failed for method: " + text_of(env, method));
    return nullptr;
  }
  auto size = static_cast<jsize>(result->size());
  jobjectArray found = env->NewObjectArray(2 * size, env->FindClass("java/lang/Object"), nullptr);
  for (jsize index = 0; index < size; ++index) {
    auto tensor = result->at(index).toTensor();
    env->SetObjectArrayElement(found, 2 * index, header_of(env, tensor));
    auto* data = const_cast<void*>(tensor.const_data_ptr());
    env->SetObjectArrayElement(
        found, 2 * index + 1, env->NewDirectByteBuffer(data, static_cast<jlong>(tensor.nbytes())));
  }
  return found;
}

JNIEXPORT void JNICALL Java_org_pytorch_executorch_NativeModule_close(JNIEnv*, jclass, jlong handle) {
  delete module_of(handle);
}

}  // extern "C"
