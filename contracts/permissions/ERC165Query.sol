// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// ERC-165: a contract says which interfaces it has.
interface IERC165 {
    function supportsInterface(bytes4 interfaceId) external view returns (bool);
}

/// Asks other contracts the ERC-165 question as the standard says, and never reverts.
contract ERC165Query is IERC165 {
    bytes4 private constant INVALID_INTERFACE = 0xffffffff;
    uint256 private constant QUERY_GAS = 30_000;

    /// True if `_contract` implements ERC-165 itself and the interface `_interfaceId`.
    function doesContractImplementInterface(address _contract, bytes4 _interfaceId)
        external
        view
        returns (bool)
    {
        return _says(_contract, type(IERC165).interfaceId) && !_says(_contract, INVALID_INTERFACE)
            && _says(_contract, _interfaceId);
    }

    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == type(IERC165).interfaceId
            || interfaceId == this.doesContractImplementInterface.selector;
    }

    function _says(address target, bytes4 interfaceId) private view returns (bool) {
        (bool answered, bytes memory answer) = target.staticcall{gas: QUERY_GAS}(
            abi.encodeCall(IERC165.supportsInterface, (interfaceId))
        );
        return answered && answer.length >= 32 && abi.decode(answer, (uint256)) == 1;
    }
}
