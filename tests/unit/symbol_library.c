/* symbol_library.c: a library of one function, whose name the build gives; see symbol.c. */
__attribute__((visibility("default"))) int NAME(void);

int NAME(void)
{
	return 1;
}
