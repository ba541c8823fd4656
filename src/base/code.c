/* SPDX-License-Identifier: MIT */
/*
 * Giving back memory of code, by madvise(2) on the segments that are not
 * writable.
 */
#include "base/code.h"

#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Does the program or library say that the loader writes to its code? Pages
 * that the loader has changed are not as in the file, so they must stay. */
static bool has_relocated_text(const struct dl_phdr_info *info)
{
	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		const ElfW(Dyn) *dyn =
			(const void *)(info->dlpi_addr + ph->p_vaddr);

		if (ph->p_type != PT_DYNAMIC)
			continue;
		for (; dyn->d_tag != DT_NULL; dyn++)
			if (dyn->d_tag == DT_TEXTREL ||
			    (dyn->d_tag == DT_FLAGS &&
			     (dyn->d_un.d_val & DF_TEXTREL)))
				return true;
	}
	return false;
}

/* Give back pages of the program or of a library. @arg is the argument of
 * code_release(). Return: 0, so that dl_iterate_phdr(3) goes on. */
static int release_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	uintptr_t of = (uintptr_t)arg;

	(void)size;
	if (has_relocated_text(info))
		return 0;
	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + ph->p_vaddr;
		uintptr_t end = start + ph->p_memsz;

		if (ph->p_type != PT_LOAD || (ph->p_flags & PF_W) ||
		    (of && (of < start || of >= end)))
			continue;
		start &= ~mask;
		madvise((void *)start, end - start, MADV_DONTNEED);
	}
	return 0;
}

void code_release(const void *of)
{
	dl_iterate_phdr(release_object, (void *)(uintptr_t)of);
}
