/* src/app/nano/nano.gguf as bytes of the program; see embedded_model.h. */
    .section .rodata
    .global hadal_nano_begin
    .global hadal_nano_end
    .balign 64
hadal_nano_begin:
    .incbin HADAL_NANO
hadal_nano_end:
    .byte 0
    .section .note.GNU-stack,"",%progbits
