/* web/web.pack as bytes of the program; see web_pack.h. */
    .section .rodata
    .global hadal_web_pack_begin
    .global hadal_web_pack_end
    .balign 16
hadal_web_pack_begin:
    .incbin HADAL_WEB_PACK
hadal_web_pack_end:
    .byte 0
    .section .note.GNU-stack,"",%progbits
