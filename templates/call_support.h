/* What every call of a compiled function from Python shares: arguments that need no conversion, results, workspace.
 * Included by the generated call.c; neither is saved with the emitted files. A function that answers 0 or NULL says "take the slow
 * way": Compiled converts, or raises with the message. */
#define PY_SSIZE_T_CLEAN
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Workspaces up to this size are kept for the next call; larger ones go back to the system. */
#define KEPT_WORK ((size_t)1 << 27)

/* tape: how many steps of loops the last call had room for. names: of the arguments. keys: dict keys, classes and static values of structures. captures: arrays bound to the function. */
typedef struct {
    PyObject *names, *keys, *captures;
    void *work;
    int64_t tape;
} State;

#define ARRAY(v) ((PyArrayObject *)(v))
#define DIM(v, axis) ((int64_t)PyArray_DIM(ARRAY(v), axis))
#define DATA(v) PyArray_DATA(ARRAY(v))
#define KEY(k) PyTuple_GET_ITEM(state->keys, k)
#define KEEP(k) PyTuple_GET_ITEM(state->captures, k)
#define ITEMS(...) ((PyObject *[]){__VA_ARGS__})

/* -- arguments */
static inline int gg_is_array(PyObject *v, int type, int ndim)
{
    const int plain = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED;
    return PyArray_CheckExact(v) && PyArray_TYPE(ARRAY(v)) == type && PyArray_NDIM(ARRAY(v)) == ndim
           && (PyArray_FLAGS(ARRAY(v)) & plain) == plain && PyArray_ISNOTSWAPPED(ARRAY(v));
}

static inline int gg_take_0d(PyObject *v, int type, void *x, size_t bytes)
{
    if (!gg_is_array(v, type, 0))
        return 0;
    memcpy(x, DATA(v), bytes);
    return 1;
}

static inline int gg_take_integer(PyObject *v, int64_t low, int64_t high, int64_t *x)
{
    int overflow;
    if (!PyLong_CheckExact(v))
        return 0;
    const long long k = PyLong_AsLongLongAndOverflow(v, &overflow);
    *x = k;
    return !overflow && k >= low && k <= high;
}

static inline int gg_take_f64(PyObject *v, double *x)
{
    int64_t k;
    if (PyFloat_CheckExact(v) || Py_IS_TYPE(v, &PyDoubleArrType_Type)) {
        *x = PyFloat_AS_DOUBLE(v);
        return 1;
    }
    if (gg_take_integer(v, INT64_MIN, INT64_MAX, &k)) {
        *x = (double)k;
        return 1;
    }
    return gg_take_0d(v, NPY_DOUBLE, x, sizeof *x);
}

static inline int gg_take_f32(PyObject *v, float *x)
{
    int64_t k;
    if (PyFloat_CheckExact(v)) {
        *x = (float)PyFloat_AS_DOUBLE(v);
        return Py_IS_INFINITY(*x) == Py_IS_INFINITY(PyFloat_AS_DOUBLE(v));
    }
    if (Py_IS_TYPE(v, &PyFloatArrType_Type)) {
        *x = PyArrayScalar_VAL(v, Float);
        return 1;
    }
    if (gg_take_integer(v, INT64_MIN, INT64_MAX, &k)) {
        *x = (float)k;
        return 1;
    }
    return gg_take_0d(v, NPY_FLOAT, x, sizeof *x);
}

static inline int gg_take_i64(PyObject *v, int64_t *x)
{
    if (Py_IS_TYPE(v, &PyInt64ArrType_Type)) {
        *x = PyArrayScalar_VAL(v, Int64);
        return 1;
    }
    return gg_take_integer(v, INT64_MIN, INT64_MAX, x) || gg_take_0d(v, NPY_INT64, x, sizeof *x);
}

static inline int gg_take_i32(PyObject *v, int32_t *x)
{
    int64_t k;
    if (Py_IS_TYPE(v, &PyInt32ArrType_Type)) {
        *x = PyArrayScalar_VAL(v, Int32);
        return 1;
    }
    if (gg_take_integer(v, INT32_MIN, INT32_MAX, &k)) {
        *x = (int32_t)k;
        return 1;
    }
    return gg_take_0d(v, NPY_INT32, x, sizeof *x);
}

static inline int gg_take_bool(PyObject *v, bool *x)
{
    *x = v == Py_True || v == PyArrayScalar_True;
    return *x || v == Py_False || v == PyArrayScalar_False || gg_take_0d(v, NPY_BOOL, x, sizeof *x);
}

/* Whether every index lies in [-bound, bound). */
static inline int gg_below_i64(PyObject *v, int64_t bound)
{
    const int64_t *x = DATA(v);
    const npy_intp count = PyArray_SIZE(ARRAY(v));
    for (npy_intp k = 0; k < count; k++)
        if (x[k] >= bound || x[k] < -bound)
            return 0;
    return 1;
}

static inline int gg_below_i32(PyObject *v, int64_t bound)
{
    const int32_t *x = DATA(v);
    const npy_intp count = PyArray_SIZE(ARRAY(v));
    for (npy_intp k = 0; k < count; k++)
        if (x[k] >= bound || x[k] < -bound)
            return 0;
    return 1;
}

static inline int64_t gg_larger0(int64_t a)
{
    return a > 0 ? a : 0;
}

static inline int64_t gg_floor_div(int64_t a, int64_t b)
{
    if (b == 0)
        return -1; /* no array has such an axis */
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* The arguments by position and name, in order. */
static inline int gg_arranged(State *state, PyObject *const *given, Py_ssize_t count, PyObject *named, PyObject **out)
{
    const Py_ssize_t wanted = PyTuple_GET_SIZE(state->names);
    Py_ssize_t place = 0;
    PyObject *key, *value;
    if (count + (named == NULL ? 0 : PyDict_GET_SIZE(named)) != wanted)
        return 0;
    for (Py_ssize_t k = 0; k < wanted; k++)
        out[k] = k < count ? given[k] : NULL;
    while (named != NULL && PyDict_Next(named, &place, &key, &value)) {
        Py_ssize_t k = count;
        while (k < wanted && PyTuple_GET_ITEM(state->names, k) != key)
            k++;
        if (k == wanted)
            return 0;
        out[k] = value;
    }
    return 1; /* as many names as places, each of another place */
}

/* -- structures: each part is a new reference */
static inline PyObject *gg_new_ref(PyObject *v)
{
    Py_XINCREF(v);
    return v;
}

static inline int gg_is_dict(PyObject *v, Py_ssize_t count)
{
    return v != NULL && PyDict_CheckExact(v) && PyDict_GET_SIZE(v) == count;
}

static inline int gg_is_sequence(PyObject *v, Py_ssize_t count)
{
    return v != NULL && (PyTuple_CheckExact(v) || PyList_CheckExact(v)) && Py_SIZE(v) == count;
}

static inline int gg_is_of(PyObject *v, PyObject *cls)
{
    return v != NULL && (PyObject *)Py_TYPE(v) == cls;
}

static inline PyObject *gg_sequence_item(PyObject *v, Py_ssize_t k)
{
    return gg_new_ref(PySequence_Fast_GET_ITEM(v, k));
}

/* What a class takes `v` apart into, whose reference it takes over. */
static inline PyObject *gg_taken_by(PyObject *taker, PyObject *v)
{
    PyObject *parts = v == NULL ? NULL : PyObject_CallOneArg(taker, v);
    Py_XDECREF(v);
    return parts;
}

/* -- results: each takes over the references of its items */
static inline int gg_all_there(Py_ssize_t count, PyObject *const *items)
{
    int there = 1;
    for (Py_ssize_t k = 0; k < count; k++)
        there &= items[k] != NULL;
    return there;
}

static inline void gg_drop(Py_ssize_t count, PyObject *const *items)
{
    for (Py_ssize_t k = 0; k < count; k++)
        Py_XDECREF(items[k]);
}

static inline PyObject *gg_tuple_of(Py_ssize_t count, PyObject *const *items)
{
    PyObject *made = gg_all_there(count, items) ? PyTuple_New(count) : NULL;
    if (made == NULL) {
        gg_drop(count, items);
        return NULL;
    }
    for (Py_ssize_t k = 0; k < count; k++)
        PyTuple_SET_ITEM(made, k, items[k]);
    return made;
}

static inline PyObject *gg_list_of(Py_ssize_t count, PyObject *const *items)
{
    PyObject *made = gg_all_there(count, items) ? PyList_New(count) : NULL;
    if (made == NULL) {
        gg_drop(count, items);
        return NULL;
    }
    for (Py_ssize_t k = 0; k < count; k++)
        PyList_SET_ITEM(made, k, items[k]);
    return made;
}

static inline PyObject *gg_dict_of(PyObject *const *keys, Py_ssize_t count, PyObject *const *items)
{
    PyObject *made = gg_all_there(count, items) ? PyDict_New() : NULL;
    for (Py_ssize_t k = 0; k < count && made != NULL; k++)
        if (PyDict_SetItem(made, keys[k], items[k]) < 0)
            Py_CLEAR(made);
    gg_drop(count, items);
    return made;
}

/* cls(*items), or cls(**dict(zip(names, items))). */
static inline PyObject *gg_made_by(PyObject *cls, PyObject *names, Py_ssize_t count, PyObject *const *items)
{
    PyObject *made = NULL;
    if (gg_all_there(count, items))
        made = PyObject_Vectorcall(cls, items, names == NULL ? (size_t)count : 0, names);
    gg_drop(count, items);
    return made;
}

static inline PyObject *gg_copy_of(PyObject *array)
{
    return array == NULL ? NULL : PyArray_NewCopy(ARRAY(array), NPY_CORDER);
}

static inline PyObject *gg_scalar_of(void *x, int type)
{
    PyArray_Descr *descr = PyArray_DescrFromType(type);
    PyObject *made = PyArray_Scalar(x, descr, NULL);
    Py_DECREF(descr);
    return made;
}

/* A fresh array, or the given one if it is as it should be; a new reference. */
static inline PyObject *gg_result(PyObject *given, int type, int ndim, npy_intp *dims)
{
    if (given == NULL)
        return PyArray_SimpleNew(ndim, dims, type);
    if (!gg_is_array(given, type, ndim) || !PyArray_ISWRITEABLE(ARRAY(given))
        || !PyArray_CompareLists(PyArray_DIMS(ARRAY(given)), dims, ndim))
        return NULL;
    return gg_new_ref(given);
}

/* Whether no array of `outs` shares memory with another of them or of `ins`. */
static inline int gg_apart(int outs_count, PyObject *const *outs, int ins_count, PyObject *const *ins)
{
    for (int i = 0; i < outs_count; i++) {
        if (outs[i] == NULL)
            continue;
        const char *start = DATA(outs[i]);
        const char *end = start + PyArray_NBYTES(ARRAY(outs[i]));
        for (int k = 0; k < i + ins_count; k++) {
            PyObject *other = k < i ? outs[k] : ins[k - i];
            if (other == NULL || !PyArray_Check(other))
                continue;
            const char *first = DATA(other);
            if (start < first + PyArray_NBYTES(ARRAY(other)) && first < end)
                return 0;
        }
    }
    return 1;
}

/* -- workspace, aligned to 64 bytes: a call takes the kept block or has its own; a block begins with its size */
static inline void *gg_aligned(void *block)
{
    return (void *)(((uintptr_t)block + sizeof(size_t) + 63) & ~(uintptr_t)63);
}

static inline void *gg_take_work(State *state, size_t bytes)
{
    size_t *block = state->work;
#ifndef Py_GIL_DISABLED
    if (block != NULL && *block >= bytes) {
        state->work = NULL;
        return block;
    }
#endif
    block = bytes > SIZE_MAX - 128 ? NULL : PyMem_RawMalloc(bytes + 128);
    if (block != NULL)
        *block = bytes;
    return block;
}

static inline void gg_give_work(State *state, void *block)
{
#ifndef Py_GIL_DISABLED
    const size_t bytes = *(size_t *)block;
    if (bytes <= KEPT_WORK && (state->work == NULL || *(size_t *)state->work < bytes)) {
        void *smaller = state->work;
        state->work = block;
        block = smaller;
    }
#else
    (void)state;
#endif
    PyMem_RawFree(block);
}
