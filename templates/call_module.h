/* The module around a generated call: its one type is a subclass of Compiled that is called without a Python frame.
 *
 *     bind(base, names, keys, captures) -> the type       run(*sizes, *inputs, *outputs) -> the kernel's code
 *
 * Needs ARGUMENTS, LEAVES, NODES, and attempt(), unpack(), run_arrays() of call.c. */
static PyObject *attempted(State *state, PyObject *const *given, Py_ssize_t count, PyObject *named, PyObject *out)
{
    PyObject *ordered[ARGUMENTS + 1], *node[NODES + 1] = {NULL}, *place[OUTPUTS + 1];
    PyObject *found = NULL;
    if (named != NULL || count != ARGUMENTS) {
        if (!arranged(state, given, count, named, ordered))
            return NULL;
        given = ordered;
    }
#if NODES
    if (unpack(state, given, node) && (out == NULL || places(state, out, place)))
        found = attempt(state, node, out == NULL ? NULL : place);
    drop(NODES, node);
#else
    (void)node;
    if (out == NULL || places(state, out, place))
        found = attempt(state, given, out == NULL ? NULL : place);
#endif
    if (found == NULL)
        PyErr_Clear(); /* the slow way raises it again */
    return found;
}

static PyObject *slowly(PyObject *self, const char *method, PyObject *args, PyObject *named)
{
    PyObject *found = NULL, *bound = PyObject_GetAttrString(self, method);
    if (bound != NULL)
        found = PyObject_Call(bound, args, named);
    Py_XDECREF(bound);
    return found;
}

static PyObject *call(PyObject *self, PyObject *args, PyObject *named)
{
    PyTypeObject *type = Py_TYPE(self); /* built anew by another thread, self has another type: this one lives on */
    Py_INCREF(type);
    PyObject *found = attempted(
        PyType_GetModuleState(type), &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args), named, NULL);
    Py_DECREF(type);
    return found != NULL ? found : slowly(self, "_call", args, named);
}

static PyObject *into(PyObject *self, PyObject *args, PyObject *named)
{
    if (PyTuple_GET_SIZE(args) > 0) {
        PyTypeObject *type = Py_TYPE(self);
        PyObject *out = PyTuple_GET_ITEM(args, 0);
        Py_INCREF(type);
        PyObject *found = attempted(PyType_GetModuleState(type), &PyTuple_GET_ITEM(args, 0) + 1,
                                    PyTuple_GET_SIZE(args) - 1, named, out);
        Py_DECREF(type);
        if (found != NULL) {
            Py_DECREF(found);
            return new_ref(out);
        }
    }
    return slowly(self, "_into", args, named);
}

static PyObject *run(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    int code = 0;
    if (count != SIZES + LEAVES + OUTPUTS || !run_arrays(PyModule_GetState(module), given, &code))
        return PyErr_Format(PyExc_TypeError, "run needs arrays as Compiled prepares them");
    return PyLong_FromLong(code);
}

static PyMethodDef methods[] = {
    {"into", (PyCFunction)(void (*)(void))into, METH_VARARGS | METH_KEYWORDS,
     "into($self, out, /, *args, **kwargs)\n--\n\n"
     "Call, writing the results into the arrays of `out`, a structure like the result's."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot slots[] = {{Py_tp_call, call}, {Py_tp_methods, methods}, {0, NULL}};
static PyType_Spec spec = {"gradgen.compiled.Compiled", 0, 0, Py_TPFLAGS_DEFAULT, slots};

static PyObject *bind(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    PyObject *base, *names, *keys, *captures;
    if (!PyArg_ParseTuple(args, "OO!O!O!", &base, &PyTuple_Type, &names, &PyTuple_Type, &keys,
                          &PyTuple_Type, &captures))
        return NULL;
    Py_XSETREF(state->names, new_ref(names));
    Py_XSETREF(state->keys, new_ref(keys));
    Py_XSETREF(state->captures, new_ref(captures));
    return PyType_FromModuleAndSpec(module, &spec, base);
}

static PyMethodDef functions[] = {
    {"bind", bind, METH_VARARGS, NULL},
    {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static int visit_state(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->names);
    Py_VISIT(state->keys);
    Py_VISIT(state->captures);
    return 0;
}

static int clear_state(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->names);
    Py_CLEAR(state->keys);
    Py_CLEAR(state->captures);
    return 0;
}

static void free_state(void *module)
{
    State *state = PyModule_GetState(module);
    clear_state(module);
    PyMem_RawFree(state->work);
}

static int start(PyObject *module)
{
    (void)module;
    import_array1(-1);
    return 0;
}

static PyModuleDef_Slot stages[] = {{Py_mod_exec, start}, {0, NULL}};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "gradgen_call", NULL, sizeof(State), functions, stages,
    visit_state, clear_state, free_state,
};

PyMODINIT_FUNC PyInit_gradgen_call(void)
{
    return PyModuleDef_Init(&definition);
}
