import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "dreamlite.executorch"
    compileSdk = 35

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    defaultConfig {
        minSdk = 29
        consumerProguardFiles("consumer-rules.pro")
        ndk { abiFilters += "arm64-v8a" }
    }

    // xnnpack runs on every phone; qnn brings Qualcomm's runtime as well.
    flavorDimensions += "backend"
    productFlavors {
        create("xnnpack") { dimension = "backend" }
        create("qnn") { dimension = "backend" }
    }
}

kotlin {
    explicitApi()
    compilerOptions {
        jvmTarget = JvmTarget.JVM_17
    }
}

dependencies {
    api(project(":core"))
    "xnnpackApi"(libs.executorch)
    "qnnApi"(libs.executorch.qnn)
}
