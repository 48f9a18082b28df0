#!/usr/bin/env bash
# Builds the JNI library: build.sh OUT_FOLDER EXECUTORCH_PACKAGE JAVA_HOME. Repeats nothing that is up to date.
set -euo pipefail
out=$1 executorch=$2 java=$3
source="$(cd "$(dirname "$0")" && pwd)/src/main/cpp/module.cpp"
library="$out/libdreamlite_host.so"
if [[ ! -f "$executorch/lib/libexecutorch.so" ]]; then
    echo "error: no lib/libexecutorch.so under '$executorch'. Give the folder of the installed Python package:" >&2
    echo "  mvn -Ddreamlite.executorch=\$(python -c 'import executorch; print(list(executorch.__path__)[0])') test" >&2
    exit 1
fi
if [[ ! -f "$java/include/jni.h" ]]; then
    echo "error: no include/jni.h under '$java'. Run Maven with a JDK, not a JRE: set JAVA_HOME." >&2
    exit 1
fi
stamp="$executorch $java $(cat "$source" "$0" | sha256sum)"
if [[ -f "$library" && "$(cat "$library.stamp" 2>/dev/null)" == "$stamp" ]]; then
    exit 0
fi
mkdir -p "$out"
"${CXX:-g++}" -std=c++17 -O1 -fPIC -shared -Wall -DC10_USING_CUSTOM_GENERATED_MACROS \
    -isystem "$executorch/include" -isystem "$executorch/include/executorch/runtime/core/portable_type/c10" \
    -I "$java/include" -I "$java/include/linux" "$source" -o "$library" \
    -L "$executorch/lib" -Wl,-rpath,"$executorch/lib" -Wl,--no-as-needed \
    -lexecutorch -lexecutorch_backend_xnnpack -lexecutorch_kernels_optimized -lexecutorch_threadpool
echo "$stamp" > "$library.stamp"
