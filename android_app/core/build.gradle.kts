import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.kotlin.jvm)
}

kotlin {
    explicitApi()
}

// Android 10 has the classes of Java 8: nothing newer is called, whatever JDK compiles.
tasks.compileKotlin {
    compilerOptions {
        jvmTarget = JvmTarget.JVM_1_8
        freeCompilerArgs.add("-Xjdk-release=1.8")
    }
}

tasks.compileJava {
    options.release = 8
}

dependencies {
    api(libs.coroutines)
    testImplementation(libs.kotlin.test)
    testImplementation(libs.junit)
}

tasks.test {
    useJUnitPlatform()
    systemProperty("dreamlite.golden", providers.gradleProperty("dreamlite.golden").getOrElse(""))
}
