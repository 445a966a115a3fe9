/* Arguments of the kernels in faults.cu. */
#ifndef OG_TESTS_CUDA_FAULTS_H
#define OG_TESTS_CUDA_FAULTS_H

typedef struct fault_arguments {
    const float *x;
    float *y;
    int n;
} fault_arguments;

#endif
