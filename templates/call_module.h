/* The module around a generated call: its one type is a subclass of Compiled that is called without a Python frame.
 *
 *     bind(base, names, keys, captures) -> the type       run(*sizes, *inputs, *outputs) -> the kernel's code
 *
 * Needs ARGUMENTS, LEAVES, NODES, PLACES, the module's name MODULE and its START, and attempt(), unpack(), places(),
 * run_arrays() of call.c. */
static PyObject *gg_attempted(State *state, PyObject *const *given, Py_ssize_t count, PyObject *named, PyObject *out)
{
    PyObject *ordered[ARGUMENTS + 1], *node[NODES + 1] = {NULL}, *place[PLACES + 1] = {NULL};
    PyObject *found = NULL;
    if (named != NULL || count != ARGUMENTS) {
        if (!gg_arranged(state, given, count, named, ordered))
            return NULL;
        given = ordered;
    }
#if NODES
    if (gg_unpack(state, given, node) && (out == NULL || gg_places(state, out, place)))
        found = gg_attempt(state, node, out == NULL ? NULL : place);
    gg_drop(NODES, node);
#else
    (void)node;
    if (out == NULL || gg_places(state, out, place))
        found = gg_attempt(state, given, out == NULL ? NULL : place);
#endif
    gg_drop(PLACES, place);
    if (found == NULL)
        PyErr_Clear(); /* the slow way raises it again */
    return found;
}

static PyObject *gg_slowly(PyObject *self, const char *method, PyObject *args, PyObject *named)
{
    PyObject *found = NULL, *bound = PyObject_GetAttrString(self, method);
    if (bound != NULL)
        found = PyObject_Call(bound, args, named);
    Py_XDECREF(bound);
    return found;
}

static PyObject *gg_call(PyObject *self, PyObject *args, PyObject *named)
{
    PyTypeObject *type = Py_TYPE(self); /* built anew by another thread, self has another type: this one lives on */
    Py_INCREF(type);
    PyObject *found = gg_attempted(
        PyType_GetModuleState(type), &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args), named, NULL);
    Py_DECREF(type);
    return found != NULL ? found : gg_slowly(self, "_call", args, named);
}

static PyObject *gg_into(PyObject *self, PyObject *args, PyObject *named)
{
    if (PyTuple_GET_SIZE(args) > 0) {
        PyTypeObject *type = Py_TYPE(self);
        PyObject *out = PyTuple_GET_ITEM(args, 0);
        Py_INCREF(type);
        PyObject *found = gg_attempted(PyType_GetModuleState(type), &PyTuple_GET_ITEM(args, 0) + 1,
                                    PyTuple_GET_SIZE(args) - 1, named, out);
        Py_DECREF(type);
        if (found != NULL) {
            Py_DECREF(found);
            return gg_new_ref(out);
        }
    }
    return gg_slowly(self, "_into", args, named);
}

static PyObject *gg_run(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    int code = 0;
    if (count != SIZES + LEAVES + OUTPUTS || !gg_run_arrays(PyModule_GetState(module), given, &code))
        return PyErr_Format(PyExc_TypeError, "run needs arrays as Compiled prepares them");
    return PyLong_FromLong(code);
}

static PyMethodDef gg_methods[] = {
    {"into", (PyCFunction)(void (*)(void))gg_into, METH_VARARGS | METH_KEYWORDS,
     "into($self, out, /, *args, **kwargs)\n--\n\n"
     "Call, writing the results into the arrays of `out`, a structure like the result's."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot gg_slots[] = {{Py_tp_call, gg_call}, {Py_tp_methods, gg_methods}, {0, NULL}};
static PyType_Spec gg_spec = {"gradgen.compiled.Compiled", 0, 0, Py_TPFLAGS_DEFAULT, gg_slots};

static PyObject *gg_bind(PyObject *module, PyObject *args)
{
    State *state = PyModule_GetState(module);
    PyObject *base, *names, *keys, *captures;
    if (!PyArg_ParseTuple(args, "OO!O!O!", &base, &PyTuple_Type, &names, &PyTuple_Type, &keys,
                          &PyTuple_Type, &captures))
        return NULL;
    Py_XSETREF(state->names, gg_new_ref(names));
    Py_XSETREF(state->keys, gg_new_ref(keys));
    Py_XSETREF(state->captures, gg_new_ref(captures));
    return PyType_FromModuleAndSpec(module, &gg_spec, base);
}

static PyMethodDef gg_functions[] = {
    {"bind", gg_bind, METH_VARARGS, NULL},
    {"run", (PyCFunction)(void (*)(void))gg_run, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static int gg_visit_state(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->names);
    Py_VISIT(state->keys);
    Py_VISIT(state->captures);
    return 0;
}

static int gg_clear_state(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->names);
    Py_CLEAR(state->keys);
    Py_CLEAR(state->captures);
    return 0;
}

static void gg_free_state(void *module)
{
    State *state = PyModule_GetState(module);
    gg_clear_state(module);
    PyMem_RawFree(state->work);
}

static int gg_start(PyObject *module)
{
    (void)module;
    import_array1(-1);
    return 0;
}

static PyModuleDef_Slot gg_stages[] = {{Py_mod_exec, gg_start}, {0, NULL}};
static struct PyModuleDef gg_definition = {
    PyModuleDef_HEAD_INIT, MODULE, NULL, sizeof(State), gg_functions, gg_stages,
    gg_visit_state, gg_clear_state, gg_free_state,
};

PyMODINIT_FUNC START(void)
{
    return PyModuleDef_Init(&gg_definition);
}
